"""How often the log is told of refusals: bounded, however often somebody asks, and none is left out of the counts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from manager.refusals import EVENT_SECONDS, MOST_UIDS, Refusal, RefusalCounter

KNOCKS = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=60)


@given(KNOCKS)
def test_each_uid_gets_one_event_a_minute_and_all_are_counted(knocks: list[tuple[int, float]]) -> None:
    """What the events and the last word at the close tell of adds up to what was refused, for each uid."""
    counter = RefusalCounter()
    now = 0.0
    told: dict[int, list[tuple[float, int]]] = {}
    for uid, later in knocks:
        now += later
        due = counter.count(_by(uid), now)
        if due is not None:
            assert due[0] == _by(uid)
            told.setdefault(uid, []).append((now, due[1]))
    for times in told.values():
        assert all(b[0] - a[0] >= EVENT_SECONDS for a, b in pairwise(times))
    rest = {refusal.uid: number for refusal, number in counter.rest(now)}
    for uid in range(4):
        events = sum(number for _, number in told.get(uid, []))
        assert events + rest.get(uid, 0) == sum(1 for other, _ in knocks if other == uid)
    assert counter.rest(now) == []


def test_many_uids_at_once_are_counted_together() -> None:
    """A user who has thousands of uids fills neither the log nor the memory; each refusal counts nevertheless."""
    counter = RefusalCounter()
    events = [due for uid in range(5000) if (due := counter.count(_by(uid), 1.0)) is not None]
    rest = counter.rest(1.0)
    assert len(events) + len(rest) <= MOST_UIDS + 2
    assert sum(number for _, number in [*events, *rest]) == 5000
    assert rest[0][0].uid is None
    later = counter.count(_by(77_777), 2.0 + EVENT_SECONDS)
    assert later is not None
    assert later[0].uid == 77_777


def test_what_could_not_be_written_is_told_by_the_next_event() -> None:
    """A log that is down for a while loses no refusal, and is not asked for each one meanwhile."""
    counter = RefusalCounter()
    due = counter.count(_by(1), 0.0)
    assert due is not None
    counter.give_back(*due, 0.0)
    assert counter.count(_by(1), 1.0) is None
    assert counter.count(_by(1), EVENT_SECONDS) == (_by(1), 3)


def _by(uid: int) -> Refusal:
    return Refusal(uid, 1000 + uid, "another user", None)

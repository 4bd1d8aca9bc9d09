"""What is believed and not durable yet: staged in order, appended once, and starts taken back whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import EpochFenced, InvalidRequest, StoreUnavailable
from eventstore.store import EventStore
from manager import commands as do
from manager.ledger import Ledger
from manager.origin import Origin
from projections.agents import AgentsProjection
from tests.support.histories import BOOT, PROCESS, SPEC
from tests.support.states import SECOND, STATES, T0

HOME = "6f1f0b1e-0000-4000-8000-000000000001"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """A real one."""
    with EventStore.open(f"sqlite:///{tmp_path / 'events.db'}", home=HOME, host="here") as opened:
        yield opened


@pytest.fixture
def ledger(store: EventStore) -> Ledger:
    """With a clock that goes on by a second at each look."""
    clock = itertools.count(T0, SECOND)
    return Ledger(store, epoch=0, clock=lambda: next(clock))


def _spawn(attempt: int = 1) -> do.Spawn:
    return do.Spawn(
        name="builder", spec=SPEC, spec_digest="ab" * 32, directory=f"agents/x/{attempt}", boot_id=BOOT
    )


def test_staged_events_are_appended_in_order_and_once(ledger: Ledger, store: EventStore) -> None:
    """One commit for all that was staged; a second commit has nothing to do."""
    order = Origin("alice", "11111111-1111-4111-8111-111111111111")
    ledger.stage("x", _spawn(), order)
    ledger.stage("x", do.ConfirmStarted(process=PROCESS))
    ledger.stage("y", _spawn(), order)
    assert ledger.has_staged
    ledger.commit()
    ledger.commit()
    rows = list(store.read())
    assert [(row.stream, row.version, row.type) for row in rows] == [
        ("agent/x", 1, "SPAWNING"),
        ("agent/x", 2, "STARTED"),
        ("agent/y", 1, "SPAWNING"),
    ]
    assert [row.actor for row in rows] == ["alice", "coordinator", "alice"]
    assert {row.correlation_id for row in rows} == {order.correlation_id}
    assert rows[1].causation_id == rows[0].event_id


def test_a_refusal_stages_nothing(ledger: Ledger) -> None:
    """What the state does not allow changes neither the state nor what waits to be written."""
    with pytest.raises(InvalidRequest):
        ledger.stage("x", do.RequestStop())
    assert not ledger.has_staged
    assert ledger.states == {}


@pytest.mark.parametrize("reason", ["a\0b", "\udcff", "x" * 70_000])
def test_one_order_that_cannot_be_recorded_spoils_nothing_after_it(
    ledger: Ledger, store: EventStore, reason: str
) -> None:
    """A reason that the log cannot hold is refused when it is given; what is ordered afterwards is recorded."""
    ledger.stage("x", _spawn())
    ledger.stage("x", do.ConfirmStarted(process=PROCESS))
    with pytest.raises(InvalidRequest, match="cannot record STOP_REQUESTED"):
        ledger.stage("x", do.RequestStop(reason=reason))
    ledger.stage("x", do.RequestStop(reason="enough"))
    ledger.commit()
    assert [row.type for row in store.read()] == ["SPAWNING", "STARTED", "STOP_REQUESTED", "SIGTERM_SENT"]


def test_a_start_is_dated_by_its_shim_within_reason(ledger: Ledger) -> None:
    """The time that the shim wrote counts, but neither one before the intent nor one in the future."""
    for agent, executed_at, expected in (
        ("as said", T0 + SECOND // 2, T0 + SECOND // 2),
        ("clock set back", T0 - 3600 * SECOND, None),
        ("clock set forward", T0 + 3600 * SECOND, None),
    ):
        ledger.stage(agent, _spawn())
        state = ledger.states[agent]
        ledger.stage(agent, do.ConfirmStarted(process=PROCESS, executed_at=executed_at))
        started_at = ledger.states[agent].phase.started_at  # type: ignore[union-attr]
        if agent == "as said":
            assert started_at == expected
        else:
            assert started_at is not None
            assert state.requested_at <= started_at < state.requested_at + 2 * SECOND


def test_dropped_starts_leave_no_trace(ledger: Ledger, store: EventStore) -> None:
    """A start that could not be made durable is taken back with all that followed it; other events stay."""
    waiting = STATES["waiting"]
    assert waiting is not None
    ledger.believe(
        "old", waiting, "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    )
    ledger.stage("old", _spawn(2))
    ledger.stage("old", do.ReportFailedStart(phase="spec", errno=None, message="cannot start it again"))
    ledger.stage("new", _spawn())
    assert sorted(ledger.take_back()) == ["new", "old"]
    assert ledger.states == {"old": waiting}
    assert not ledger.has_staged
    ledger.stage("next", _spawn())
    ledger.commit()
    assert [row.stream for row in store.read()] == ["agent/next"]


def test_a_fenced_ledger_keeps_what_it_could_not_write(store: EventStore) -> None:
    """After a newer coordinator has begun nothing of the older one is appended."""
    old = Ledger(store, epoch=0, clock=lambda: T0)
    old.stage("x", _spawn())
    from eventstore.home_events import CoordinatorStarted
    from eventstore.record import NewEvent

    store.begin_epoch(
        lambda epoch: NewEvent(
            event=CoordinatorStarted(epoch=epoch, pid=1, boot_id=BOOT, version="1"),
            event_id="33333333-3333-4333-8333-333333333333",
            occurred_at=T0,
            actor="test",
            correlation_id="44444444-4444-4444-8444-444444444444",
        ),
        stream=f"home/{HOME}",
    )
    with pytest.raises(EpochFenced):
        old.commit()
    assert [row.type for row in store.read()] == ["COORDINATOR_STARTED"]


@pytest.mark.parametrize("is_lost", [True, False])
def test_an_order_that_cannot_be_durable_leaves_no_trace(late: Ledger, is_lost: bool) -> None:
    """It is taken back; where the log has it all the same, the next commit finds that, and what follows fits."""
    late.stage("x", _spawn())
    late.stage("x", do.ConfirmStarted(process=PROCESS))
    store: Any = late._store
    store.loses_answer = False
    late.commit()
    before = late.states["x"]
    with late.or_nothing("x"):
        late.stage("x", do.SendSignal(signal=10))
        store.loses_answer = is_lost
        if is_lost:
            with pytest.raises(StoreUnavailable):
                late.commit()
        late.take_back()
    assert (late.states, late.has_staged) == ({"x": before}, False)
    late.stage("x", do.PassStartWindow())
    assert late.commit() == ["x"] * is_lost
    assert _types(late, "x")[2:] == (["SIGNAL_SENT"] if is_lost else ["RUNNING"])


class _AnswersLate:
    """A store whose next append is made, and whose answer to it is lost."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.loses_answer = True

    def append_many(self, *arguments: Any, **named: Any) -> Any:
        """The append; then the error that a lost connection gives."""
        answer = self._store.append_many(*arguments, **named)
        if self.loses_answer:
            self.loses_answer = False
            raise StoreUnavailable("cannot tell whether it was stored")
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Ledger]:
    """On a store with rows of agents, which a replay is held against."""
    url = f"sqlite:///{tmp_path / 'late.db'}"
    with EventStore.open(url, home=HOME, host="here", inline=[AgentsProjection()]) as opened:
        clock = itertools.count(T0, SECOND)
        yield Ledger(_AnswersLate(opened), epoch=0, clock=lambda: next(clock))  # type: ignore[arg-type]


def _types(ledger: Ledger, agent_id: str) -> list[str]:
    return [row.type for row in ledger._store.read(stream=f"agent/{agent_id}")]


def test_what_is_staged_after_a_lost_answer_follows_it(late: Ledger) -> None:
    """The log has the first events and not the others: that is no conflict, and nothing is doubled."""
    late.stage("x", _spawn())
    late.stage("x", do.ConfirmStarted(process=PROCESS))
    with pytest.raises(StoreUnavailable):
        late.commit()
    late.stage("x", do.PassStartWindow())
    assert late.commit() == []
    assert _types(late, "x") == ["SPAWNING", "STARTED", "RUNNING"]


def test_a_dropped_start_that_the_log_has_is_found(late: Ledger) -> None:
    """A start whose answer was lost is taken back; the next commit finds it, and what follows fits."""
    late.stage("x", _spawn())
    with pytest.raises(StoreUnavailable):
        late.commit()
    assert late.take_back() == ["x"]
    assert late.states == {}
    late.stage("y", replace(_spawn(), name="other"))
    assert late.commit() == ["x"]
    assert late.states["x"].state == "SPAWNING"
    late.stage("x", do.ReportFailedStart(phase="launch", errno=None, message="it was not launched"))
    assert late.commit() == []
    assert _types(late, "x") == ["SPAWNING", "FAILED"]
    assert _types(late, "y") == ["SPAWNING"]


def test_a_start_that_was_dropped_and_made_again_is_made_once(late: Ledger) -> None:
    """A second start of the same attempt, staged before the first was found, gives way to it."""
    late.stage("x", _spawn())
    with pytest.raises(StoreUnavailable):
        late.commit()
    late.take_back()
    late.stage("x", _spawn())
    assert late.commit() == ["x"]
    assert _types(late, "x") == ["SPAWNING"]

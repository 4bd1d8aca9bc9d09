"""Many writers at once: dense positions, nobody starved, one commit for many, one refusal for one."""

import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from eventstore.appending import Batch
from eventstore.errors import StoreUnavailable, VersionConflict
from eventstore.groupcommit import PATIENCE_SECONDS, GroupCommit
from eventstore.store import EventStore
from tests.store.conftest import Database
from tests.store.writers import writers
from tests.support.histories import new, note


def test_positions_are_dense_whoever_writes(database: Database) -> None:
    """Four programs with eight threads each: every acknowledged event is there once, positions have no gap."""
    store = database.open()
    with writers(database.url, 4, threads=8, count=25) as started:
        for writer in started:
            writer.go()
        acknowledged = [event for writer in started for event in writer.finish()]
    rows = list(store.read())
    assert len(acknowledged) == len(rows) == 4 * 8 * 25
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert {(row.stream, row.version, row.event_id) for row in rows} == set(acknowledged)
    assert store.verify().is_intact


@pytest.mark.slow
def test_no_writer_starves(database: Database) -> None:
    """Of four programs that write as fast as they can, the slowest gets at least a quarter of the mean."""
    with writers(database.url, 4, seconds=3) as started:
        for writer in started:
            writer.go()
        done = [len(writer.finish()) for writer in started]
    assert min(done) >= sum(done) / 4 / 4, done


def test_threads_share_commits(database: Database) -> None:
    """Appends that come while another commits go into one transaction: far fewer recorded times than events."""
    readings = iter(range(1, 1_000_000))
    store = database.open(clock=lambda: next(readings))
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        for version in range(20):
            store.append(f"x/{number}", [new(note())], expected_version=version, epoch=None)

    _run([threading.Thread(target=work, args=(number,)) for number in range(16)])
    transactions = Counter(row.recorded_at for row in store.read())
    assert transactions.total() == 320
    assert len(transactions) < 240


def test_a_refusal_is_for_one_alone(store: EventStore) -> None:
    """In one commit with others, whoever expected the wrong version is refused and the others are stored."""
    barrier = threading.Barrier(16)
    outcomes: list[str] = []

    def work(number: int) -> None:
        barrier.wait()
        for attempt in range(10):
            try:
                wrong = 1 if number % 4 == 0 else 0
                store.append(f"x/{number}/{attempt}", [new(note())], expected_version=wrong, epoch=None)
                outcomes.append("stored")
            except VersionConflict:
                outcomes.append("refused")

    _run([threading.Thread(target=work, args=(number,)) for number in range(16)])
    assert Counter(outcomes) == {"stored": 120, "refused": 40}
    assert store.head().position == 120


def test_one_stream_wanted_by_many_goes_to_one(store: EventStore) -> None:
    """Of sixteen that expect the same version exactly one is stored."""
    barrier = threading.Barrier(16)
    won: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            store.append("x/1", [new(note())], expected_version=0, epoch=None)
            won.append(number)
        except VersionConflict:
            pass

    _run([threading.Thread(target=work, args=(number,)) for number in range(16)])
    assert len(won) == 1
    assert store.head().position == 1


def test_the_same_events_from_many_threads_are_stored_once(store: EventStore) -> None:
    """Retries that overlap in one commit all get the same row."""
    event = new(note())
    barrier = threading.Barrier(8)
    positions: list[int] = []

    def work() -> None:
        barrier.wait()
        positions.append(store.append("x/1", [event], expected_version=0, epoch=None)[0].position)

    _run([threading.Thread(target=work) for _ in range(8)])
    assert positions == [1] * 8
    assert store.head().position == 1


def test_large_and_small_appends_mix(store: EventStore) -> None:
    """An append of many streams is whole beside single ones."""
    many = [Batch(stream=f"many/{n}", events=[new(note())], expected_version=0) for n in range(1200)]
    threads = [threading.Thread(target=store.append_many, args=(many,), kwargs={"epoch": None})]
    threads += [
        threading.Thread(
            target=store.append, args=(f"x/{n}", [new(note())]), kwargs={"expected_version": 0, "epoch": None}
        )
        for n in range(20)
    ]
    _run(threads)
    positions = [row.position for row in store.read() if row.stream.startswith("many/")]
    assert positions == list(range(positions[0], positions[0] + 1200))
    assert store.head().position == 1220


def test_an_interrupted_leader_leaves_no_one_waiting() -> None:
    """When the thread that commits for others is interrupted, they are told, and the next commit works."""
    entered, release = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def commit(group: object) -> list[str]:
        calls.append(list(group))  # type: ignore[call-overload]
        if len(calls) == 1:
            entered.set()
            release.wait(timeout=30)
            return ["first"]
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [f"done {work}" for work in calls[-1]]

    group: GroupCommit[str, str] = GroupCommit(commit)
    caught: list[type[BaseException]] = []

    def submit(work: str) -> None:
        try:
            group.submit(work)
        except BaseException as error:
            caught.append(type(error))

    threads = [threading.Thread(target=submit, args=(name,)) for name in ("a", "b", "c")]
    threads[0].start()
    assert entered.wait(timeout=30)
    for thread in threads[1:]:
        thread.start()
    while len(group._waiting) < 2:
        pass
    release.set()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert sorted(map(str, caught)) == sorted(map(str, [KeyboardInterrupt, StoreUnavailable]))
    assert group.submit("d") == "done d"


def test_those_who_committed_together_do_so_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes back first waits a moment for the others: it committed alone, and every second commit was for one."""
    monkeypatch.setattr("eventstore.groupcommit.PATIENCE", 100)
    monkeypatch.setattr("eventstore.groupcommit.PATIENCE_SECONDS", 60)
    sizes: list[int] = []

    def commit(works: Sequence[int]) -> list[int]:
        sizes.append(len(works))
        threading.Event().wait(0.002)  # as a disk
        return list(works)

    group: GroupCommit[int, int] = GroupCommit(commit)
    threads = [threading.Thread(target=lambda: [group.submit(1) for _ in range(5)]) for _ in range(4)]
    _run(threads)
    assert (sum(sizes), len(sizes) <= 7) == (20, True), sizes


def test_nobody_waits_for_others_as_long_as_for_a_lock() -> None:
    """A commit that had waited a minute for a lock made the next leader wait a quarter of one."""

    def commit(works: Sequence[int]) -> list[int]:
        threading.Event().wait(0.2)
        return list(works)

    group: GroupCommit[int, int] = GroupCommit(commit)
    group.submit(1)
    assert group._patience == PATIENCE_SECONDS


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()

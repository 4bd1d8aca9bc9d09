"""Damaged files of attempts: what they said is unknown, never another code, another process or a second start."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest
from manager.status import AgentStatus
from tests.faults import damage as damages
from tests.faults.attempts import (
    batches,
    inflict,
    start_and_leave,
    still_starting,
    that_end,
    that_stay,
    truth_of,
    wait_for_ends,
)
from tests.faults.damage import Damage, Kept, make_readable
from tests.faults.run import Run
from tests.support.processes import eventually, runs
from tests.support.promises import living
from tests.support.tally import Tally

LOGS = ("lock", "stdout.log", "stderr.log", "status.json")
BATCH = 36  # agents of a home, each with damage of its own
TELLS_EXIT = ("exit.json", "main.json", ".")
FLIPPED = ("exit.json", "main.json", "identity.json", "exec.json", "spec.json")
EXTENT = pytest.mark.parametrize("extent", ["a part", pytest.param("all", marks=pytest.mark.faults)])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: what is judged here does not depend on the disk."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="outlive-damaged-", dir="/dev/shm"))
    yield path
    if not any(path.iterdir()):
        path.rmdir()


def whole_files() -> Iterator[Damage]:
    """Everything but cuts and flips."""
    for kind in damages.RECORDS:
        yield from damages.replacements(f"{kind}.json")
        yield from damages.swaps(kind)
        yield from damages.forgeries(kind)
    for name in LOGS:
        yield from damages.replacements(name)
    yield from damages.directory_damages()


def bits_and_bytes(home: Path, step: int) -> Iterator[Damage]:
    """Cuts and flipped bits of the records that tell ends and identities, every `step`-th."""
    for name in FLIPPED:
        size = min(path.stat().st_size for path in home.glob(f"agents/*/1/{name}"))
        yield from damages.cuts(name, size, step=step)
        yield from damages.flips(name, size, step=8 * step + 1 if step > 1 else 1)


def leaves_a_trace(damage: Damage) -> bool:
    """Whether it can still be told that an attempt was begun. A directory that is gone was never made."""
    return damage.name != "." or damage.what not in ("removed", "empty")


# --- attempts that have ended ---------------------------------------------------------------------------------------


@EXTENT
@pytest.mark.parametrize("is_started", [True, False], ids=["running", "starting"])
def test_of_attempts_that_have_ended(place: Path, tally: Tally, extent: str, is_started: bool) -> None:
    """However a file was damaged before anybody read it: the exit is what the agent said of itself, or unknown."""
    with Run.create(place, seed=19) as run:
        ids = start_and_leave(run, that_end(run, BATCH), is_started=is_started)
        wait_for_ends(run)
        wanted = [*whole_files(), *bits_and_bytes(run.home, 1 if extent == "all" else 61)]
        names = sorted(ids) if is_started else still_starting(run)
        assert len(names) > BATCH // 2
        if not is_started:
            wanted = list(filter(leaves_a_trace, wanted))
        for batch in batches(wanted, names):
            _judge_ended(run, ids, batch, is_started=is_started)
        run.judge()
    tally("19 damaged files of attempts that have ended", runs=len(wanted))


def _judge_ended(run: Run, ids: dict[str, str], batch: dict[str, Damage], *, is_started: bool) -> None:
    """Damage a copy of the run's home, open it, and hold what it says against the truth."""
    copy = Run(run.path.with_name(f"{run.path.name}-copy"), run.seed)
    shutil.copytree(run.path, copy.path, symlinks=True, ignore=shutil.ignore_patterns("control.sock"))
    inflict(copy, ids, batch, run.home)
    with copy.manager() as manager:
        eventually(lambda: all(one.is_final for one in manager.statuses(all=True)), "all are judged")
        for status in manager.statuses(all=True):
            _check_ended(status, batch.get(status.name), is_started=is_started)
    shutil.rmtree(copy.home / "agents")  # what the oracle is shown is what had been written
    shutil.copytree(run.home / "agents", copy.home / "agents")
    copy.examine()
    shutil.rmtree(copy.path)


def _check_ended(status: AgentStatus, damage: Damage | None, *, is_started: bool) -> None:
    """What is said of an agent that had ended is the truth, or unknown where its record was damaged."""
    exit_ = status.exit
    if exit_ is not None and exit_.kind != "unknown":
        assert truth_of(status.name) == (exit_.kind, exit_.code if exit_.kind == "code" else exit_.signal)
        return
    assert damage is not None, status
    assert exit_ is None or exit_.reason, str(damage)
    assert status.state == "LOST", (status, str(damage))
    assert not damage.is_harmless, str(damage)
    is_alone = damage.name in TELLS_EXIT and not (status.name.startswith("tree") and damage.name != ".")
    assert is_alone or (not is_started and damage.name in ("identity.json", *TELLS_EXIT)), str(damage)


# --- attempts that run ----------------------------------------------------------------------------------------------


def of_living() -> Iterator[Damage]:
    """What can be done to the files of a running attempt and be undone; records that it lacks are put there."""
    for kind in damages.RECORDS:
        yield from damages.replacements(f"{kind}.json")
        yield from damages.swaps(kind)
    for name in LOGS:
        yield from damages.replacements(name)


@EXTENT
def test_of_attempts_that_run(place: Path, tally: Tally, extent: str) -> None:
    """An agent whose files were damaged runs on, is found again as the process that it is, and gets no signal."""
    wanted = list(islice(of_living(), 0, None, 1 if extent == "all" else 2))
    with Run.create(place, seed=19) as run:
        staying, ending = that_stay(run, BATCH), that_end(run, 3)
        ids = start_and_leave(run, [*staying, *ending], is_started=True)
        eventually(lambda: len(list(run.home.glob("agents/*/1/main.json"))) >= BATCH // 3, "trees settle")
        with run.manager() as manager:
            manager.wait_many([name for name, _ in ending])
            before = {status.name: status.pid for status in manager.statuses()}
        names = sorted(before)
        for batch in batches(wanted, names):
            _damage_living(run, ids, batch, before)
        run.judge()
    tally("19 damaged files of attempts that run", runs=len(wanted))


def _damage_living(
    run: Run, ids: dict[str, str], batch: dict[str, Damage], before: dict[str, int | None]
) -> None:
    kept = {name: Kept(run.home / "agents" / ids[name] / "1") for name in batch}
    inflict(run, ids, batch, run.home)
    with run.manager() as manager:
        assert manager.recovery is not None
        for name, damage in batch.items():
            status = manager.status(name)
            assert (status.state, status.pid) == ("RUNNING", before[name]), (status, str(damage))
            assert status.attempt == 1
        assert manager.recovery.lost == 0
    for one in kept.values():
        one.put_back()


def left_in_place() -> Iterator[Damage]:
    """What is still so when the agent is stopped."""
    for name in ("exit.json", "lock", "spec.json", "stdout.log", "main.json"):
        yield from damages.replacements(name)
    yield Damage("exit.json.tmp", "a directory", damages.REPLACEMENTS["a directory"])
    yield Damage("exit.json.tmp", "garbage", damages.REPLACEMENTS["garbage"])
    yield from damages.swaps("spec")
    yield from damages.directory_damages()


@EXTENT
@pytest.mark.parametrize("forced", [False, True], ids=["stop", "kill"])
def test_of_attempts_that_are_stopped(place: Path, tally: Tally, extent: str, forced: bool) -> None:
    """An agent with damaged files is stopped like any other; its shim writes its exit over whatever lies there."""
    wanted = [one for i, one in enumerate(left_in_place()) if extent == "all" or i % 2 == forced]
    with Run.create(place, seed=19) as run:
        staying = that_stay(run, min(BATCH, len(wanted)))
        for batch in batches(wanted, [name for name, _ in staying]):
            ids = start_and_leave(run, [*staying, *that_end(run, 3)], is_started=True)
            trees = [ids[name] for name in ids if name.startswith("family")]
            paths = [run.home / "agents" / agent / "1" / "main.json" for agent in trees]
            eventually(lambda paths=paths: all(map(Path.exists, paths)), "their first processes end")  # type: ignore[misc]
            inflict(run, ids, batch, run.home)
            with run.coordinator() as coordinator:
                coordinator.ask("kill" if forced else "stop", agents=list(ids.values()))
            _check_stopped(run, ids, batch, forced=forced)
        make_readable(run.home)
        run.judge()
    tally("19 damaged files of attempts that are stopped", runs=len(wanted))


def _check_stopped(run: Run, ids: dict[str, str], batch: dict[str, Damage], *, forced: bool) -> None:
    with run.manager() as manager:
        for name, damage in batch.items():
            status = manager.status(ids[name])
            is_tree = name.startswith("family")
            assert status.is_final, (status, str(damage))
            assert not {agent for _, agent in living(run.home)} & {ids[name]}, str(damage)
            exit_ = status.exit
            if exit_ is None or exit_.kind == "unknown":
                assert damage.name == "." or (is_tree and damage.name == "exit.json"), (status, str(damage))
            elif is_tree or not forced:
                assert (exit_.kind, exit_.code) == ("code", 0), (status, str(damage))
            else:
                assert (exit_.kind, exit_.signal) == ("signal", 9), (status, str(damage))


# --- attempts that are being started, and orphans -------------------------------------------------------------------


def of_starting() -> Iterator[Damage]:
    """What a start is recognised by."""
    for name in ("identity.json", "lock", "exec.json", "spec.json"):
        yield from damages.replacements(name)
    yield from damages.swaps("identity")
    yield from damages.swaps("exec")
    yield from damages.flips("identity.json", 400, step=331)
    yield from filter(leaves_a_trace, damages.directory_damages())


@EXTENT
def test_of_attempts_that_are_being_started(
    place: Path, tally: Tally, extent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that nobody has confirmed yet is found, or left alone while it lives; it is never started again."""
    monkeypatch.setattr("manager.coordinator.START_SETTLES_SECONDS", 0.5)
    monkeypatch.setattr("manager.recovering.START_SETTLES_SECONDS", 0.5)
    monkeypatch.setattr("manager.coordinator.STOP_SETTLES_SECONDS", 0.5)
    left = [one for i, one in enumerate(of_starting()) if extent == "all" or i % 2]
    number = len(left)
    while left:
        with Run.create(place, seed=19) as run:
            staying = [(f"plain-{number}", run.agent()) for number in range(BATCH)]
            ids = start_and_leave(run, [*staying, *that_end(run, 1)], is_started=False)
            names = [name for name in still_starting(run) if name.startswith("plain")]
            batch, left = dict(zip(names, left, strict=False)), left[len(names) :]
            kept = [Kept(run.home / "agents" / ids[name] / "1") for name in batch]
            inflict(run, ids, batch, run.home)
            _judge_starting(run, ids, batch)
            for one in kept:  # what the oracle is shown is what had been written
                one.put_back()
            run.judge()
    tally("19 damaged files of attempts that are being started", runs=number)


def _judge_starting(run: Run, ids: dict[str, str], batch: dict[str, Damage]) -> None:
    pids = {words[0]: int(words[3]) for words in run.told_by_agents()}
    with run.manager() as manager:
        unknown = []
        for name, damage in batch.items():
            status = manager.status(ids[name])
            assert runs(pids[ids[name]]), str(damage)
            if damage.name in ("identity.json", ".") and not damage.is_harmless:
                assert status.state == "SPAWNING", (status, str(damage))
                unknown.append(name)
            else:
                assert (status.state, status.pid) == ("RUNNING", pids[ids[name]]), (status, str(damage))
        for name in unknown[:1]:
            with pytest.raises(InvalidRequest, match="its process is not known"):
                manager.stop(ids[name])
        for name in unknown:
            run.kill("agent", pids[ids[name]], agent=ids[name])
        eventually(lambda: all(manager.status(ids[name]).state == "LOST" for name in unknown), "all are over")


def test_an_orphan_is_not_given_up_for_a_damaged_exit(place: Path, tally: Tally) -> None:
    """An agent that lost its shim and lives is watched on, whatever lies there as exit; none is started beside it."""
    with Run.create(place, seed=19) as run:
        coordinator = run.coordinator()
        spec = run.agent(restart={"mode": "always", "backoff_seconds": 0.1})
        [agent] = coordinator.spawn(spec)
        coordinator.kill()
        attempt = run.home / "agents" / agent / "1"
        shim = json.loads((attempt / "identity.json").read_bytes())["body"]["shim_pid"]
        run.kill("shim", shim, agent=agent)
        eventually(lambda: not runs(shim), "the shim is gone")
        run.fault("damage", "attempt", agent=agent, attempt=1, file="exit.json", what="garbage")
        (attempt / "exit.json").write_bytes(b"garbage")
        with run.manager() as manager:
            assert (manager.status(agent).state, manager.status(agent).attempt) == ("RUNNING", 1)
            assert manager.recovery is not None
            assert manager.recovery.reattached == 1
        run.judge()
    tally("19 damaged exit of an orphan")

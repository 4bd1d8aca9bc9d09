"""Homes whose coordinator was killed, with agents that run, have ended since, or are in the log as being started."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.damage import MOST_BYTES, Damage
from tests.faults.run import Run
from tests.support.processes import eventually

Named = tuple[str, dict[str, Any]]  # a name and a spec
KINDS = ("code", "signal", "tree")


def that_end(run: Run, count: int) -> list[Named]:
    """Agents of three kinds that end by themselves, each with a code of its own: named for the kind and the code."""
    found = []
    for number in range(count):
        kind, code = KINDS[number % len(KINDS)], number + 3
        end = ("--die", "USR1") if kind == "signal" else ("--code", str(code))
        tree = ("--daemonise", "--daemon-seconds", "0.8") if kind == "tree" else ()
        until = "tree" if kind == "tree" else "main"
        found.append((f"{kind}-{code}", run.agent(*tree, *end, "--exit-after", "0.6", until=until)))
    return found


def that_stay(run: Run, count: int) -> list[Named]:
    """Agents that run until somebody ends them; every third one's first process has left the rest to itself."""
    found = []
    for number in range(count):
        if number % 3 == 2:
            found.append((f"family-{number}", run.agent("--daemonise", "--exit-after", "0.3", until="tree")))
        else:
            found.append((f"plain-{number}", run.agent()))
    return found


def truth_of(name: str) -> tuple[str, int]:
    """How an agent of `that_end` ends."""
    kind, _, code = name.partition("-")
    return ("signal", int(signal.SIGUSR1)) if kind == "signal" else ("code", int(code))


def start_and_leave(
    run: Run, wanted: Sequence[Named], *, is_started: bool, under: Sequence[str] = ()
) -> dict[str, str]:
    """Start them and kill the coordinator; their ids by name.

    Without `is_started` it is killed while most of them are in the log as being started, and run already.
    """
    coordinator = run.coordinator(under=under)
    if is_started:
        coordinator.spawn(*(spec for _, spec in wanted), names=[name for name, _ in wanted])
    else:
        coordinator.send("spawn", items=[{"name": name, "spec": spec} for name, spec in wanted])
        eventually(lambda: list(run.home.glob("agents/*/1/identity.json")), "the first is started")
        run.kill("coordinator", coordinator.pid, signal.SIGSTOP)
        eventually(lambda: len(run.told_by_agents()) == len(wanted), "all are started")
    coordinator.kill()
    return ids_by_name(run)


def wait_for_ends(run: Run) -> None:
    """Return once every attempt has ended and its shim has written all."""
    paths = list(run.home.glob("agents/*/1"))
    eventually(lambda: all((path / "sweep.json").exists() for path in paths), "all have ended", seconds=60)


def ids_by_name(run: Run) -> dict[str, str]:
    """What the log calls the agents of a home."""
    with closing(sqlite3.connect(f"file:{run.home}/events.db?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT name, agent_id FROM agents ORDER BY rowid").fetchall())


def still_starting(run: Run) -> list[str]:
    """The names of agents that the log does not know to be started."""
    with closing(sqlite3.connect(f"file:{run.home}/events.db?mode=ro", uri=True)) as database:
        return sorted(name for (name,) in database.execute("SELECT name FROM agents WHERE pid IS NULL"))


def fitting(name: str, damage: Damage) -> bool:
    """Whether an agent of this name has the file."""
    return damage.name != "main.json" or name.startswith(("tree", "family"))


def batches(wanted: Sequence[Damage], names: Sequence[str]) -> Iterator[dict[str, Damage]]:
    """The damages, spread over as many batches as it takes: by the name of the agent that each is done to."""
    left = list(wanted)
    while left:
        batch: dict[str, Damage] = {}
        for name in names:
            found = next((one for one in left if fitting(name, one)), None)
            if found is not None:
                left.remove(found)
                batch[name] = found
        yield batch


def inflict(run: Run, ids: dict[str, str], batch: dict[str, Damage], source: Path) -> None:
    """Do the damage of a batch, each noted before; other attempts' files come from attempts below `source`.

    A record that the attempt does not have yet is made first.
    """
    damaged = {ids[name] for name in batch}
    for name, damage in batch.items():
        attempt = run.home / "agents" / ids[name] / "1"
        file = attempt / damage.name
        run.fault("damage", "attempt", agent=ids[name], attempt=1, file=damage.name, what=damage.what)
        if damage.name != ".":
            file.touch()
        not_from = {ids[name]} if source != run.home else damaged
        damage.do(attempt if damage.name == "." else file, other_attempt(source, not_from, damage.name))


def other_attempt(source: Path, not_from: Collection[str], file: str) -> Path:
    """The directory of an attempt of another agent, of one that has this file, too, if there is any."""
    found = [path for path in sorted(source.glob("agents/*/1")) if path.parent.name not in not_from]
    return next((path for path in found if _is_usable(path / file)), found[0])


def _is_usable(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < MOST_BYTES

"""A coordinator's life in a process of its own, to be killed anywhere: `python -m tests.support.story HOME CHAPTER…`.

Five agents, each of which tells the truth about itself: its first act is one line with its id, attempt and pid in the
file `HOME.ledger`. Whoever judges the story afterwards compares the log with these lines.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from manager import AgentSpec, Manager, StartFailed
from manager.status import AgentStatus

ROOT = Path(__file__).resolve().parents[2]
MARK = "OUTLIVE_STORY"  # in every agent's environment, so that a test finds all that it started
WAIT_SECONDS = 60.0
EXITS, FAMILY, DAEMON, SLEEPER, KEEPER = "exits", "family", "daemon", "sleeper", "keeper"
NAMES = (EXITS, FAMILY, DAEMON, SLEEPER, KEEPER)  # in the order of their shims
SAY = 'echo "$OUTLIVE_AGENT_ID $OUTLIVE_ATTEMPT $$" >> "$LEDGER"; '


def ledger_of(home: Path) -> Path:
    """Where the agents of a home write that they run."""
    return home.with_name(f"{home.name}.ledger")


def specs(home: Path) -> dict[str, AgentSpec]:
    """One agent of each kind, by name.

    `exits` ends with 7 by itself; `family` ignores SIGTERM and has a grandchild in a session of its own; `daemon` ends
    with 5, and its descendant a little later (until=tree); `sleeper` ends with 0 on SIGTERM; nobody stops `keeper`.
    """
    environment = {"LEDGER": str(ledger_of(home)), MARK: str(home)}

    def shell(text: str, **more: object) -> AgentSpec:
        content = {"command": ["sh", "-c", SAY + text], "env": environment, "cwd": "/", **more}
        return AgentSpec.model_validate(content)

    return {
        EXITS: shell("sleep 0.5; exit 7"),
        FAMILY: shell(
            "trap '' TERM; setsid sleep 1000 & exec sleep 1000", stop_grace_seconds=(0.2, 0.2, 20.0)
        ),
        DAEMON: shell("setsid sleep 0.6 & sleep 0.3; exit 5", until="tree"),
        SLEEPER: shell("trap 'exit 0' TERM; sleep 1000 & wait"),
        KEEPER: shell("exec sleep 1000"),
    }


def start(manager: Manager, home: Path) -> None:
    """Start those that are not there yet; with the first coordinator, all side by side."""
    there = {status.name for status in manager.statuses(all=True)}
    missing = [(name, spec) for name, spec in specs(home).items() if name not in there]
    manager.spawn_many(missing)


def stop(manager: Manager, home: Path) -> None:
    """Stop two of them, and see two end by themselves."""
    del home
    by_name = {status.name: status for status in manager.statuses(all=True)}

    def known(*names: str) -> list[AgentStatus]:
        return [by_name[name] for name in names if name in by_name]

    manager.stop_many(known(SLEEPER), reason="the story says so")
    manager.stop_many(known(FAMILY), reason="the story says so")
    manager.wait_many(known(EXITS, DAEMON), timeout=WAIT_SECONDS)


def begin_to_stop(manager: Manager, home: Path) -> None:
    """Ask for the stop of one that will not listen, and do not wait for it."""
    del home
    manager.stop(FAMILY, grace=(0.5, 0.5, 20.0), wait=False)


def die(manager: Manager, home: Path) -> None:
    """End at once, as by the kernel's memory killer."""
    del manager, home
    os.kill(os.getpid(), signal.SIGKILL)


def rest(manager: Manager, home: Path) -> None:
    """Go on until somebody ends it."""
    del manager
    home.with_name(f"{home.name}.rests").touch()
    while True:
        time.sleep(60)


def single(manager: Manager, home: Path) -> None:
    """Start one after the other, so that a launcher's later points are reached by a later request."""
    for name, spec in specs(home).items():
        try:
            manager.spawn(spec, name)
        except StartFailed:
            continue  # what the crash does to one of them; the next one must start all the same


CHAPTERS = {act.__name__: act for act in (start, single, stop, begin_to_stop, rest, die)}


def main(home: Path, chapters: list[str]) -> None:
    """Open the home, do the chapters in order, close."""
    with Manager.open(home, actor="story") as manager:
        for chapter in chapters:
            CHAPTERS[chapter](manager, home)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

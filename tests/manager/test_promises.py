"""The judge is judged: a lie planted in a true story must not pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manager import Manager
from manager.process.attempt_lock import shim_alive
from tests.support import story
from tests.support.processes import eventually
from tests.support.promises import check_promises, ledger, tell


def _ran_twice(home: Path) -> None:
    lines = story.ledger_of(home).read_text()
    story.ledger_of(home).write_text(lines + lines.splitlines(keepends=True)[0])


def _ran_without_intent(home: Path) -> None:
    first = ledger(home)[0]
    with story.ledger_of(home).open("a") as file:
        file.write(f"{first.agent_id} 2 {first.pid}\n")


def _never_ran(home: Path) -> None:
    story.ledger_of(home).write_text("")


def _ran_as_another(home: Path) -> None:
    lines = [f"{told.agent_id} {told.attempt} 1\n" for told in ledger(home)]
    story.ledger_of(home).write_text("".join(lines))


@pytest.mark.parametrize(
    "lie", [_ran_twice, _ran_without_intent, _never_ran, _ran_as_another], ids=lambda lie: lie.__name__[1:]
)
def test_a_lie_is_found(home: Path, lie: Callable[[Path], None]) -> None:
    """Without the lie the story passes; with it, it does not."""
    told = tell(home, "start", "die")
    told.communicate(timeout=story.WAIT_SECONDS)
    with Manager.open(home) as manager:
        manager.wait_many([story.EXITS, story.DAEMON], timeout=story.WAIT_SECONDS)
    lie(home)
    with pytest.raises(AssertionError):
        check_promises(home)


def test_a_damaged_exit_record_is_unknown_and_noticed(home: Path) -> None:
    """A record that cannot be trusted is never a code: the agent is LOST, and the judge asks why."""
    told = tell(home, "start", "die")
    told.communicate(timeout=story.WAIT_SECONDS)
    found = eventually(lambda: _exit_records(home, 2), "two agents have ended, unwatched")
    for path in found:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AssertionError, match="unknown"):
        check_promises(home)
    with Manager.open(home) as manager:
        exits, daemon = manager.status(story.EXITS), manager.status(story.DAEMON)
        assert exits.exit is not None
        assert (exits.state, exits.exit.kind) == ("LOST", "unknown")
        assert exits.exit.reason == "the exit record is damaged"
        assert daemon.exit is not None
        assert daemon.exit.code == 5  # its first process has a record of its own, which is whole


def _exit_records(home: Path, number: int) -> list[Path]:
    """The exit records once there are so many, each of a shim that has left."""
    paths = list(home.glob("agents/*/1/exit.json"))
    is_over = len(paths) == number and not any(shim_alive(str(path.parent)) for path in paths)
    return paths if is_over else []

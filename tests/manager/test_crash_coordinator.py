"""kill -9 of the coordinator at every step of starting, watching, stopping and recovering."""

from pathlib import Path

import pytest

from eventstore.crashpoints import POINTS
from tests.support.promises import check_promises, tell, witness_of
from tests.support.story import WAIT_SECONDS

_OURS = sorted(point for point in POINTS if point.startswith(("coordinator.", "store.")))
_ONCE = {  # one life passes here once
    "coordinator.after_lock",
    "coordinator.after_epoch",
    "coordinator.before_recovery",
    "coordinator.after_recovery",
    # a second SIGKILL is sent only to what the first one has not ended in time
    "coordinator.before_kill",
    "coordinator.after_kill",
}
_NEEDS_AGENTS = {"coordinator.before_look"}
_FIRST_LIFE = [
    (point, hit)
    for point in _OURS
    if point not in _NEEDS_AGENTS
    for hit in ((1,) if point in _ONCE else (1, 2))
]
_SECOND_LIFE = [
    (point, 1) for point in _OURS if point not in ("coordinator.before_request", "coordinator.after_request")
]


@pytest.mark.parametrize(("point", "hit"), _FIRST_LIFE)
def test_killed_while_it_starts_and_stops_agents(home: Path, point: str, hit: int) -> None:
    """Wherever the first coordinator dies, the next one knows what became of every agent, and starts none twice."""
    story = tell(home, "start", "stop", crash=f"{point}:{hit}")
    _, said = story.communicate(timeout=WAIT_SECONDS)
    assert witness_of(home).exists(), f"{point} was not reached a {hit}. time: {said.decode()}"
    assert story.returncode == -9
    check_promises(home)


@pytest.mark.parametrize(("point", "hit"), _SECOND_LIFE)
def test_killed_while_it_recovers(home: Path, point: str, hit: int) -> None:
    """A recovery that dies halfway, with a stop under way and agents ending meanwhile, is simply done again."""
    first = tell(home, "start", "begin_to_stop", "die")
    first.communicate(timeout=WAIT_SECONDS)
    assert first.returncode == -9
    second = tell(home, "stop", crash=f"{point}:{hit}")
    _, said = second.communicate(timeout=WAIT_SECONDS)
    assert witness_of(home).exists(), f"{point} was not reached a {hit}. time: {said.decode()}"
    assert second.returncode == -9
    check_promises(home)

"""The whole story on a kernel without this or that: less is known then, but nothing is guessed."""

from pathlib import Path

import pytest

from tests.support import story
from tests.support.promises import check_promises, tell

_FEATURES = ("pidfd", "pidfs", "pidfd_info", "subreaper", "proc_children", "cgroup")


@pytest.mark.parametrize("missing", [*_FEATURES, ",".join(_FEATURES)])
def test_the_story_without(home: Path, missing: str) -> None:
    """Start, stop, a kill -9 of the coordinator, and a new one: every promise holds without the feature, too."""
    first = tell(home, "start", "begin_to_stop", "die", OUTLIVE_DISABLE=missing)
    first.communicate(timeout=story.WAIT_SECONDS)
    assert first.returncode == -9
    second = tell(home, "stop", OUTLIVE_DISABLE=missing)
    _, said = second.communicate(timeout=story.WAIT_SECONDS)
    assert second.returncode == 0, said.decode()
    agents = check_promises(home)
    assert {agent.name: agent.state for agent in agents} == {
        story.EXITS: "FAILED",
        story.FAMILY: "KILLED",
        story.DAEMON: "FAILED",
        story.SLEEPER: "CANCELLED",
        story.KEEPER: "RUNNING",
    }

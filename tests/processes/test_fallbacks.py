"""Without one kernel feature or another agents are still started, ended and recorded, and nothing more is claimed."""

import sys
import time
from pathlib import Path

import pytest

from manager.process import features as features_module
from manager.process import tree
from manager.process.attempt_lock import holds_main
from manager.process.features import Features, detect
from manager.process.identity import Match, agent_identity, prove, shim_identity
from manager.process.signalling import send_signal
from tests.support.processes import Nursery, eventually, runs

_FEATURES = ["pidfd", "pidfs", "pidfd_info", "subreaper", "proc_children", "cgroup", "pidfd,subreaper"]


@pytest.fixture(name="disabled", params=_FEATURES)
def disabled_feature(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One feature switched off, in the launcher by OUTLIVE_DISABLE and here."""
    names = str(request.param)
    found: Features = detect(frozenset(names.split(",")))
    monkeypatch.setattr(features_module, "_found", found)
    return names


def test_an_agent_is_started_recognised_and_signalled(tmp_path: Path, disabled: str) -> None:
    """Start, proof, signal and exit record work with any feature missing."""
    with Nursery(tmp_path, {"OUTLIVE_DISABLE": disabled}) as nursery:
        attempt = nursery.launch(["sleep", "60"], cgroup=True)
        assert (attempt.launched.shim_pidfd is None) == ("pidfd" in disabled.split(","))
        identity = agent_identity(attempt.records()[0])
        proof = prove(identity, shim_holds_lock=lambda: holds_main(str(attempt.path)))
        assert proof.match is Match.SAME, proof.reason
        assert proof.process is not None
        with proof.process as process:
            assert not process.has_ended
            assert send_signal(process, 15)
        assert attempt.ended()["signal"] == 15
        assert prove(identity, shim_holds_lock=False).match is Match.DIFFERENT


def test_what_is_left_in_the_session_is_swept(tmp_path: Path, disabled: str) -> None:
    """A background child of the agent is ended with it; complete is claimed only where orphans come to the shim."""
    program = (
        "import os, time\np = os.fork()\nif not p: time.sleep(100)\nprint(p, flush=True)\ntime.sleep(0.2)"
    )
    with Nursery(tmp_path, {"OUTLIVE_DISABLE": disabled}) as nursery:
        attempt = nursery.launch([sys.executable, "-I", "-S", "-c", program], cgroup=False)
        assert attempt.ended()["code"] == 0
        child = int(attempt.stdout())
        eventually(lambda: not runs(child), "the background child is ended")
        sweep = attempt.files.sweep
        assert isinstance(sweep, dict)
        assert sweep["complete"] == ("subreaper" not in disabled.split(","))


def test_a_tree_is_killed(tmp_path: Path, disabled: str) -> None:
    """kill_tree ends the agent and its children with any feature missing."""
    program = "import os, time\nos.fork(); os.fork()\ntime.sleep(100)"
    with Nursery(tmp_path, {"OUTLIVE_DISABLE": disabled}) as nursery:
        attempt = nursery.launch([sys.executable, "-I", "-S", "-c", program], cgroup=False)
        shim = prove(
            shim_identity(attempt.records()[0]), shim_holds_lock=lambda: holds_main(str(attempt.path))
        ).process
        assert shim is not None
        eventually(lambda: len(tree.descendant_pids(shim.pid)) == 4, "the agent has forked")
        pids = tree.descendant_pids(shim.pid)
        began = time.monotonic()
        with shim:
            tree.kill_tree(shim, token=attempt.token)
        eventually(lambda: not any(runs(pid) for pid in pids), "all are gone")
        assert time.monotonic() - began < 20
        assert attempt.ended()["signal"] == 9

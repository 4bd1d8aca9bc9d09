"""What is on disk after a launcher, shim or child was killed at a named point cannot be misread.

tests/faults/test_crash_points_helpers.py kills them at every point.
"""

from pathlib import Path

import pytest

from manager.process.attempt_lock import claim, shim_alive
from manager.process.identity import Match, agent_identity, prove
from tests.support.processes import Nursery, eventually, runs

# Where a shim dies before its gate is open, the program never runs, whatever is on disk.
_NEVER_RUNS = (
    "shim.before_fork",
    "shim.after_fork",
    "shim.before_mkdir",
    "shim.after_mkdir",
    "shim.after_lock",
    "shim.after_record_written",
    "shim.after_spec",
    "shim.after_identity",
    "shim.before_gate",
)
# From the gate on it runs to its end, though nobody may be left to see that end.
_RUNS_UNSEEN = ("shim.after_gate", "shim.before_exec_record", "shim.after_exec_record")
_EXIT_LOST = ("shim.before_exit_record", "shim.after_record_written:1.4")  # the exit's is its fourth record
_EXIT_KEPT = (
    "shim.after_record_named:1.4",
    "shim.after_record_synced",
    "shim.after_exit_record",
    "shim.after_sweep",
    "shim.before_reap",
    "shim.after_reap",
)
_CHILD = ("child.started", "child.after_gate", "child.before_exec")
_LAUNCHER = ("launcher.started", "launcher.before_fork", "launcher.after_fork", "launcher.before_answer")
_UNTIL_TREE = ("shim.before_main_record", "shim.after_main_record")


@pytest.mark.parametrize("point", _NEVER_RUNS)
def test_a_shim_killed_before_the_gate_runs_nothing(tmp_path: Path, point: str) -> None:
    """The child sees the gate close and leaves unexecuted; no exec and no exit is claimed."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["touch", str(tmp_path / "ran")])
        records = attempt.records()
        eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is killed")
        files = attempt.files
        assert not isinstance(files.exec, dict)
        assert not isinstance(files.exit, dict)
        eventually(lambda: not shim_alive(str(attempt.path)), "the lock is free")
        if isinstance(files.identity, dict):
            assert records in ([files.identity], [])
            identity = agent_identity(files.identity)
            eventually(
                lambda: prove(identity, shim_holds_lock=False).match is Match.DIFFERENT,
                "the child leaves the gate",
            )
            assert not claim(str(attempt.path))
        else:
            assert claim(str(attempt.path)), "what never began can be claimed"
            assert list(attempt.path.glob("*.tmp")) == [], "half a record was left"
        again = nursery.launch(["true"])
        assert again.ended()["code"] == 0, "only the first shim was to crash"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("point", _RUNS_UNSEEN)
def test_an_agent_runs_on_without_its_shim(tmp_path: Path, point: str) -> None:
    """A shim killed after the gate leaves an agent that runs, is recognised, and has no invented exit."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["sh", "-c", "echo $$; exec sleep 60"])
        eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is killed")
        identity = agent_identity(attempt.records()[0])
        eventually(lambda: (attempt.path / "stdout.log").exists() and attempt.stdout(), "the agent runs")
        proof = prove(identity, shim_holds_lock=False)
        if proof.process is not None:
            proof.process.close()
        assert proof.match is (Match.SAME if identity.pidfd_inode is not None else Match.UNCERTAIN)
        assert not isinstance(attempt.files.exit, dict)


@pytest.mark.parametrize("point", _EXIT_LOST)
def test_an_exit_not_yet_written_is_unknown(tmp_path: Path, point: str) -> None:
    """Killed between seeing the end and writing it, a shim leaves no exit record, not even half of one."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["sh", "-c", "exit 7"])
        eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is killed")
        assert isinstance(attempt.files.exec, dict)
        assert not isinstance(attempt.files.exit, dict)


@pytest.mark.parametrize("point", _EXIT_KEPT)
def test_an_exit_once_written_stays(tmp_path: Path, point: str) -> None:
    """From the rename on, the exit is known whatever happens to the shim."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["sh", "-c", "exit 7"])
        assert attempt.ended()["code"] == 7


@pytest.mark.parametrize("point", _UNTIL_TREE)
def test_the_first_process_of_a_tree(tmp_path: Path, point: str) -> None:
    """With until=tree the main process's exit is either wholly recorded or unknown."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["sh", "-c", "sleep 0.2 & exit 7"], until="tree")
        eventually(lambda: not runs(attempt.launched.shim_pid), "the shim is killed")
        main = attempt.files.main
        assert (main["code"] if isinstance(main, dict) else None) == (
            7 if point == "shim.after_main_record" else None
        )
        assert not isinstance(attempt.files.exit, dict)


@pytest.mark.parametrize("point", _CHILD)
def test_a_child_killed_before_exec_is_a_failed_start(tmp_path: Path, point: str) -> None:
    """The program's code is not blamed for a process that never ran the program."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.launch(["touch", str(tmp_path / "ran")])
        executed = attempt.records()[-1]
        assert (executed["record"], executed["phase"]) == ("exec", "killed")
        exit_ = attempt.ended()
        assert (exit_["kind"], exit_["code"]) == ("failed_start", None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("point", _LAUNCHER)
def test_a_killed_launcher_starts_an_attempt_once_or_not_at_all(tmp_path: Path, point: str) -> None:
    """Whatever point the launcher dies at: the program runs once, or the attempt can be claimed and never runs."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": point}) as nursery:
        attempt = nursery.submit(["sh", "-c", f"echo x >> {tmp_path}/ran"])
        nursery.answer_or_gone(attempt)
        path = str(attempt.path)
        never_forked = point in ("launcher.started", "launcher.before_fork")
        if never_forked:
            assert claim(path)
        else:
            eventually(lambda: isinstance(attempt.files.exit, dict), "the shim works on without its launcher")
        nursery.client.close()
        nursery.client.start()
        late = nursery.launch(["sh", "-c", f"echo x >> {tmp_path}/ran"], attempt_dir=path)
        assert late.records()[0]["record"] == "refused"
        ran = tmp_path / "ran"
        assert (ran.read_text() if ran.exists() else "") == ("" if never_forked else "x\n")


def test_the_kth_shim_is_the_one_that_crashes(tmp_path: Path) -> None:
    """OUTLIVE_CRASH=shim.…:N counts the shims of one launcher."""
    with Nursery(tmp_path, {"OUTLIVE_CRASH": "shim.before_exit_record:3"}) as nursery:
        attempts = [nursery.launch(["true"]) for _ in range(4)]
        for attempt in attempts:
            eventually(lambda attempt=attempt: not runs(attempt.launched.shim_pid), "the shim ends")  # type: ignore[misc]
        assert [isinstance(attempt.files.exit, dict) for attempt in attempts] == [True, True, False, True]

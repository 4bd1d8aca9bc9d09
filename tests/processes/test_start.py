"""A start is recorded before the program runs, and a failed one is never taken for an exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from manager.process import cgroup, procfs
from manager.process.attempt_dir import name_of
from manager.process.attempt_lock import claim, holds_main, shim_alive
from manager.process.features import features
from manager.process.identity import Match, agent_identity, prove, shim_identity
from tests.support.processes import Nursery, eventually, runs


def test_the_memory_of_a_shim_is_not_its_agents(nursery: Nursery) -> None:
    """The kernel counts on from the copy of the shim: small programs had 8 MB, with a large environment 15 MB."""
    large = {f"V{n}": "x" * 100_000 for n in range(15)}
    small = [nursery.launch(["sleep", "0.1"]), nursery.launch(["sleep", "0.1"], env=large)]
    assert [one.ended()["rusage"]["maxrss_bytes"] for one in small] == [None, None]
    taken = nursery.launch([sys.executable, "-c", "taken = b'x' * 50_000_000"])
    assert taken.ended()["rusage"]["maxrss_bytes"] > 50_000_000


def test_a_program_runs_and_its_exit_code_is_on_disk(nursery: Nursery) -> None:
    """What the program wrote and returned can be read after it and its shim are gone."""
    attempt = nursery.launch(["sh", "-c", "echo out; echo err >&2; exit 7"])
    exit_ = attempt.ended()
    assert (exit_["kind"], exit_["code"], exit_["signal"]) == ("code", 7, None)
    assert attempt.stdout() == "out\n"
    assert (attempt.path / "stderr.log").read_text() == "err\n"
    assert exit_["ended_boottime_ns"] > exit_["started_boottime_ns"] > 0
    assert exit_["rusage"]["maxrss_bytes"] is None  # a shell has less than its shim had before it
    spec = attempt.files.spec
    assert isinstance(spec, dict)
    assert (spec["token"], spec["command"][0]) == (attempt.token, "sh")
    found = {"left": [], "left_count": 0, "complete": True}
    assert attempt.files.sweep == {"attempt": name_of(str(attempt.path)), "record": "sweep", **found}


def test_the_report_pipe_says_what_is_on_disk(nursery: Nursery) -> None:
    """The coordinator reads the identity and the exec from the pipe and finds the very same on disk."""
    attempt = nursery.launch(["sleep", "60"])
    identity, executed = attempt.records()
    assert (identity, executed) == (attempt.files.identity, attempt.files.exec)
    assert (executed["record"], executed["errno"]) == ("exec", 0)
    assert identity["shim_pid"] == attempt.launched.shim_pid


def test_the_identity_proves_agent_and_shim(nursery: Nursery) -> None:
    """A running agent and its shim are recognised from the record alone; the shim holds the lock."""
    attempt = nursery.launch(["sleep", "60"])
    record = attempt.records()[0]
    for identity in (agent_identity(record), shim_identity(record)):
        proof = prove(identity, shim_holds_lock=lambda: holds_main(str(attempt.path)))
        assert proof.match is Match.SAME, proof.reason
        assert proof.process is not None
        proof.process.close()
    assert shim_alive(str(attempt.path))


def test_death_by_a_signal_is_not_exit_code_137(nursery: Nursery) -> None:
    """Signal 9 and `exit 137` are two different ends."""
    killed = nursery.launch(["sh", "-c", "kill -9 $$"])
    returned = nursery.launch(["sh", "-c", "exit 137"])
    assert [killed.ended()[key] for key in ("kind", "code", "signal")] == ["signal", None, 9]
    assert [returned.ended()[key] for key in ("kind", "code", "signal")] == ["code", 137, None]


@pytest.mark.parametrize(
    ("command", "changes", "phase", "number"),
    [
        (["no-such-program"], {}, "exec", 2),
        (["/no/such/program"], {}, "exec", 2),
        (["/etc/passwd"], {}, "exec", 13),  # EACCES: not executable
        ([], {}, "exec", 2),
        (["true"], {"cwd": "/no/such/directory"}, "cwd", 2),
        (["true"], {"rlimits": {"no-such-limit": [1, 1]}}, "limits", 22),
        (["a\0b"], {}, "exec", 22),
    ],
)
def test_a_failed_start_names_its_phase_and_errno(
    nursery: Nursery, command: list[str], changes: dict[str, Any], phase: str, number: int
) -> None:
    """A start that fails says where and why, and has no exit code."""
    attempt = nursery.launch(command, **changes)
    executed = attempt.records()[-1]
    assert (executed["phase"], executed["errno"]) == (phase, number)
    exit_ = attempt.ended()
    assert (exit_["kind"], exit_["phase"], exit_["errno"]) == ("failed_start", phase, number)
    assert exit_["code"] is None
    assert exit_["signal"] is None


def test_a_real_127_is_an_exit_code(nursery: Nursery) -> None:
    """A program that returns 127 was started; only a missing one was not."""
    attempt = nursery.launch(["sh", "-c", "exit 127"])
    assert (attempt.ended()["kind"], attempt.ended()["code"]) == ("code", 127)


def test_a_file_without_a_format_is_not_given_to_a_shell(nursery: Nursery, tmp_path: Path) -> None:
    """A text without #! is refused with ENOEXEC, as the kernel does, and not run by a shell."""
    script = tmp_path / "script"
    script.write_text("touch made\n")
    script.chmod(0o755)
    attempt = nursery.launch([str(script)], cwd=str(tmp_path))
    assert attempt.ended()["errno"] == 8
    assert not (tmp_path / "made").exists()


def test_a_claimed_attempt_is_not_started_by_a_late_request(nursery: Nursery, tmp_path: Path) -> None:
    """Once recovery has taken an attempt that never began, the request that arrives late starts nothing."""
    assert claim(str(tmp_path / "1"))
    attempt = nursery.launch(["sh", "-c", f"touch {tmp_path}/ran"])
    (refused,) = attempt.records()
    assert (refused["record"], refused["phase"], refused["errno"]) == ("refused", "mkdir", 17)
    eventually(lambda: not runs(attempt.launched.shim_pid), "the shim leaves")
    assert os.listdir(tmp_path / "1") == []
    assert not (tmp_path / "ran").exists()


def test_a_running_attempt_cannot_be_claimed(nursery: Nursery) -> None:
    """Recovery never claims an attempt whose program may have run."""
    attempt = nursery.launch(["true"])
    attempt.ended()
    assert not claim(str(attempt.path))


def test_an_attempt_dead_before_its_identity_can_be_claimed_again_and_again(tmp_path: Path) -> None:
    """A claim is safe to repeat, as recovery itself may be killed after it."""
    (tmp_path / "1").mkdir()
    assert claim(str(tmp_path / "1"))
    assert claim(str(tmp_path / "1"))


def test_a_directory_that_cannot_be_made_is_a_refusal(nursery: Nursery, tmp_path: Path) -> None:
    """No directory, no start: the reason comes back by the pipe."""
    attempt = nursery.launch(["true"], attempt_dir=str(tmp_path / "no" / "such" / "place"))
    assert [(r["record"], r["errno"]) for r in attempt.records()] == [("refused", 2)]


def test_files_are_private_whatever_the_umask(nursery: Nursery) -> None:
    """The attempt's directory is 0700 and its files are 0600."""
    before = os.umask(0)
    try:
        attempt = nursery.launch(["true"], umask=0)
    finally:
        os.umask(before)
    attempt.ended()
    assert attempt.path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in attempt.path.iterdir()} == {0o600}


def test_agents_live_on_without_launcher_and_a_new_one_starts_more(nursery: Nursery) -> None:
    """The launcher may be killed: agents and shims stay, exits are recorded, the next launcher works."""
    attempt = nursery.launch(["sh", "-c", "sleep 0.3; exit 5"])
    attempt.records()
    stat = procfs.read_stat(attempt.launched.shim_pid)
    assert stat is not None
    launcher = stat.parent
    assert procfs.read_bytes(f"/proc/{launcher}/comm") == b"outlive-launche\n"
    os.kill(launcher, 9)
    assert attempt.ended()["code"] == 5
    nursery.client.close()
    nursery.client.start()
    again = nursery.launch(["true"])
    assert again.ended()["code"] == 0


def test_the_launcher_leaves_with_its_coordinator(tmp_path: Path) -> None:
    """Closing the connection ends the launcher and no agent."""
    with Nursery(tmp_path) as nursery:
        attempt = nursery.launch(["sleep", "60"])
        attempt.records()
        stat = procfs.read_stat(attempt.launched.shim_pid)
        assert stat is not None
        nursery.client.close()
        eventually(lambda: not runs(stat.parent), "the launcher leaves")
        assert runs(attempt.pid)


def test_a_launcher_leaves_nothing_of_its_rehearsal(nursery: Nursery) -> None:
    """The starts that warm a launcher up leave no directory, no process, no cgroup, and no open file."""
    attempt = nursery.launch(["sleep", "60"])
    attempt.records()
    stat = procfs.read_stat(attempt.launched.shim_pid)
    assert stat is not None
    launcher = stat.parent
    name = f"rehearsal-{launcher}"
    assert not [place for place in ("/dev/shm", "/tmp") if os.path.exists(f"{place}/outlive-{name}")]
    assert procfs.children_listed(launcher) == [attempt.launched.shim_pid]
    own = features().cgroup
    assert own is None or not os.path.exists(cgroup.directory_of(own, name))
    # The null device three times, the connection, and the two ends of the wake-up pipe.
    eventually(lambda: len(os.listdir(f"/proc/{launcher}/fd")) == 6, "what the start took is closed, too")


def test_what_a_killed_rehearsal_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A launcher killed while it warms up litters the machine only until another one starts; others' files stay."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale = Path(f"/dev/shm/outlive-rehearsal-{ended.pid}")
    ours = Path(f"/dev/shm/outlive-rehearsal-{os.getpid()}")  # of a living process: may be in use
    try:
        (stale / "0").mkdir(parents=True)
        (stale / "0" / "spec.json").touch()
        ours.mkdir()
        with Nursery(tmp_path) as nursery:
            nursery.launch(["true"]).ended()
        assert not stale.exists()
        assert ours.exists()
    finally:
        shutil.rmtree(stale, ignore_errors=True)
        ours.rmdir()


def test_a_rehearsal_can_be_switched_off(tmp_path: Path) -> None:
    """Where system calls are counted, a launcher's first start is a real one."""
    with Nursery(tmp_path, {"OUTLIVE_DISABLE": "rehearsal"}) as nursery:
        assert nursery.launch(["sh", "-c", "exit 7"]).ended()["code"] == 7


def test_two_hundred_starts_in_one_go(nursery: Nursery) -> None:
    """Many requests at once are neither lost nor mixed up, and nobody blocks."""
    attempts = [nursery.submit(["sh", "-c", f"exit {n % 250}"]) for n in range(200)]
    for n, attempt in enumerate(attempts):
        nursery.answer(attempt)
        assert attempt.ended()["code"] == n % 250


def test_large_requests_do_not_block_either_side(nursery: Nursery) -> None:
    """Requests far larger than a socket's buffer all arrive, though nobody reads the answers meanwhile."""
    env = {"PATH": os.environ["PATH"], **{f"V{n}": "x" * 100_000 for n in range(10)}}
    attempts = [nursery.submit(["true"], env=env) for _ in range(20)]
    for attempt in attempts:
        nursery.answer(attempt)
        assert attempt.ended()["kind"] == "code"


def test_a_launcher_is_nobodys_child_here(nursery: Nursery) -> None:
    """The user's own os.wait() never meets our processes."""
    before = set(psutil.Process().children())
    nursery.launch(["sleep", "60"]).records()
    assert set(psutil.Process().children()) == before


def test_a_decoy_package_in_the_working_directory_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own `manager/` beside the program changes nothing."""
    (tmp_path / "manager").mkdir()
    (tmp_path / "manager" / "__init__.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    with Nursery(tmp_path) as nursery:
        assert nursery.launch([sys.executable, "-c", "raise SystemExit(3)"]).ended()["code"] == 3

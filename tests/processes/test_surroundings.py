"""An agent finds the surroundings it was promised, and none of the launcher's."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Nursery, eventually

_TELL = """
import json, os, resource, signal
status = dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
umask = os.umask(0)
print(json.dumps({
    "fds": sorted(f for f in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{f}")),
    "stdin": os.readlink("/proc/self/fd/0"), "blocked": int(status["SigBlk"], 16),
    "sid": os.getsid(0), "pgid": os.getpgid(0),
    "pid": os.getpid(), "umask": umask, "cwd": os.getcwd(), "env": dict(os.environ), "uid": os.getresuid(),
    "gid": os.getresgid(), "groups": os.getgroups(), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "caps": int(status["CapEff"], 16)}))
"""


def _told(nursery: Nursery, **changes: Any) -> dict[str, Any]:
    attempt = nursery.python(_TELL, **changes)
    assert attempt.ended()["code"] == 0, (attempt.path / "stderr.log").read_text()
    return dict(json.loads(attempt.stdout()))


def test_descriptors_signals_and_session_are_clean(nursery: Nursery) -> None:
    """Only 0-2 are open, nothing is blocked or ignored, and the agent leads a session of its own."""
    told = _told(nursery)
    assert told["fds"] == [0, 1, 2]
    assert told["stdin"] == "/dev/null"
    assert told["blocked"] == 0
    assert told["sid"] == told["pgid"] == told["pid"]


def test_no_signal_is_ignored(nursery: Nursery) -> None:
    """A program that does not change its signals (as Python does) sees none ignored, SIGPIPE included."""
    attempt = nursery.launch(["grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"])
    attempt.ended()
    assert [int(line.split()[1], 16) for line in attempt.stdout().splitlines()] == [0, 0]


def test_the_environment_is_the_one_asked_for(tmp_path: Path) -> None:
    """The agent has exactly the given variables and its token: no test switch, nothing of the launcher."""
    with Nursery(
        tmp_path, {"OUTLIVE_CRASH": "launcher.started:1000", "OUTLIVE_DISABLE": "cgroup"}
    ) as nursery:
        attempt = nursery.launch(
            ["env"], env={"PATH": os.environ["PATH"], "A": "ä\udc80", "OUTLIVE_CRASH": "x:1"}
        )
        attempt.ended()
        lines = (attempt.path / "stdout.log").read_bytes().splitlines()
    expected = [
        b"PATH=" + os.fsencode(os.environ["PATH"]),
        b"A=\xc3\xa4\x80",
        b"OUTLIVE_TOKEN=" + attempt.token.encode(),
    ]
    assert sorted(lines) == sorted(expected)


def test_umask_directory_and_limits_are_the_ones_asked_for(nursery: Nursery, tmp_path: Path) -> None:
    """umask, cwd, RLIMIT_NOFILE and other limits are set before the program runs."""
    told = _told(nursery, umask=0o037, cwd=str(tmp_path), nofile=[100, 200], rlimits={"core": [0, 0]})
    assert (told["umask"], told["cwd"]) == (0o037, str(tmp_path))
    assert (told["nofile"], told["core"]) == ([100, 200], [0, 0])


@pytest.mark.root
def test_another_user_has_none_of_roots_rights(nursery: Nursery) -> None:
    """Groups, gid and uid are dropped in all three forms, and every capability with them."""
    attempt = nursery.launch(
        ["/usr/bin/env", "sh", "-c", "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm):' /proc/self/status"],
        user={"uid": 65534, "gid": 65533, "groups": [65532]},
        cwd="/",
    )
    assert attempt.ended()["code"] == 0
    told = dict(line.split(":", 1) for line in attempt.stdout().splitlines())
    assert told["Uid"].split() == ["65534"] * 4
    assert told["Gid"].split() == ["65533"] * 4
    assert told["Groups"].split() == ["65532"]
    assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0


@pytest.mark.root
def test_a_user_that_cannot_be_taken_is_no_start(nursery: Nursery) -> None:
    """If the rights cannot be dropped the program does not run."""
    attempt = nursery.launch(["true"], user={"uid": -5, "gid": 65533, "groups": []})
    assert attempt.ended()["kind"] == "failed_start"
    assert attempt.ended()["phase"] == "user"


def test_the_shim_ignores_polite_signals(nursery: Nursery) -> None:
    """SIGTERM, SIGINT and SIGHUP to a shim change nothing: it leaves with its agent."""
    attempt = nursery.launch(["sh", "-c", "sleep 0.5; exit 4"])
    attempt.records()
    for signum in (15, 2, 1, 13):
        os.kill(attempt.launched.shim_pid, signum)
    assert attempt.ended()["code"] == 4


def test_output_after_the_coordinator_is_gone_hurts_nobody(tmp_path: Path) -> None:
    """An agent that writes when no coordinator is left gets no SIGPIPE: its output is a file."""
    with Nursery(tmp_path) as nursery:
        attempt = nursery.launch(["sh", "-c", "sleep 0.3; echo later; exit 6"])
        attempt.records()
        nursery.client.close()
        assert attempt.ended()["code"] == 6
        eventually(lambda: attempt.stdout() == "later\n", "the output is in the file")

"""`--user`: the program has that user's rights and none of root's, or it does not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manager import Manager
from tests.security.ordinary import Ordinary
from tests.support import story
from tests.support.agents import program
from tests.support.others import MODULES, NOBODY, python_for_others
from tests.support.tally import Tally

DROPS = "security 9 rights of an agent that runs as another user"
# Whatever it can do that it must not, it tells.
TRIES = """
import json, os, socket, sys
home, shim = sys.argv[1], os.getppid()
def can(attempt):
    try:
        attempt()
    except OSError as error:
        return False
    return True
def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(home + "/control.sock")
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
print(json.dumps({
    "caps": {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "tracer": int(status["TracerPid"]),
    "fds": [f for f in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + f)],
    "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "can": [name for name, attempt in {
        "list the home": lambda: os.listdir(home),
        "write to the home": lambda: open(home + "/planted", "w"),
        "write to the log": lambda: open(home + "/events.db", "r+"),
        "ask the coordinator": connect,
        "open its output again": lambda: open("/proc/self/fd/1", "w"),
        "signal its shim": lambda: os.kill(shim, 0),
        "read its shim's environment": lambda: open(f"/proc/{shim}/environ").read(1),
        "read its shim's memory": lambda: open(f"/proc/{shim}/mem", "rb"),
        "see its shim's descriptors": lambda: os.listdir(f"/proc/{shim}/fd"),
        "be root again": lambda: os.setuid(0),
        "have root's group again": lambda: os.setgid(0),
        "have root's groups again": lambda: os.setgroups([0]),
    }.items() if can(attempt)]}))
"""
# A coordinator with more than it should pass on: a new uid takes away neither inheritable nor ambient capabilities.
GENEROUS = """
import ctypes, os, struct, sys
from manager import AgentSpec, Manager
libc = ctypes.CDLL(None, use_errno=True)
held = next(int(line.split()[1], 16) for line in open("/proc/self/status") if line.startswith("CapPrm"))
low, high = held & 0xffffffff, held >> 32
assert libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, low, high, high, high)) == 0
for number in range(64):
    if held >> number & 1:
        assert libc.prctl(47, 2, number, 0, 0) == 0
assert libc.prctl(28, int(sys.argv[2]), 0, 0, 0) == 0
secret = os.open("/proc/self/environ", os.O_RDONLY)
os.set_inheritable(secret, True)
os.setgroups([0, 4, 6])
with Manager.open(sys.argv[1]) as manager:
    command = (sys.argv[3], "-c", sys.argv[4], sys.argv[1])
    spec = AgentSpec(command=command, user="65534", cwd="/", env={sys.argv[5]: sys.argv[1]})
    ended = manager.wait(manager.spawn(spec, "it"))
    print(open(f"{sys.argv[1]}/{ended.directory}/stdout.log").read())
    sys.stderr.write(open(f"{sys.argv[1]}/{ended.directory}/stderr.log").read())
"""
NO_SETUID_FIXUP = 4  # securebits: a new uid takes no capability away


@pytest.mark.root
@pytest.mark.parametrize("securebits", [0, NO_SETUID_FIXUP])
def test_another_user_has_nothing_of_roots(home: Path, securebits: int, tally: Tally) -> None:
    """No group, id, capability or descriptor of a generous coordinator's, and no way to what is ours."""
    python = python_for_others()
    if python is None:
        pytest.skip("needs an interpreter and a checkout that other users may read")
    arguments = [str(home), str(securebits), python, TRIES, story.MARK]
    done = subprocess.run(
        [sys.executable, "-c", GENEROUS, *arguments],
        env={**os.environ, "PYTHONPATH": MODULES},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["caps"] == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert told["uid"] == told["gid"] == [NOBODY] * 3
    assert told["groups"] == [NOBODY]
    assert sorted(told["fds"]) == ["0", "1", "2"]
    assert told["can"] == []
    assert (told["leads"], told["tracer"]) == (True, 0)
    assert not (home / "planted").exists()
    tally(DROPS)


@pytest.mark.root
def test_root_by_name_stays_root(manager: Manager, home: Path) -> None:
    """Who asks for root gets root: a uid of 0 without its rights helps nobody."""
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)
    agent = manager.wait(
        manager.spawn(program(home, "grep", "CapEff", "/proc/self/status", user="root"), "it")
    )
    assert (home / agent.directory / "stdout.log").read_text().strip() == ours


REFUSED = """
import sys
from manager import AgentSpec, Manager, StartFailed
with Manager.open(sys.argv[1]) as manager:
    try:
        manager.spawn(AgentSpec(command=("touch", sys.argv[1] + "/../ran"), user="root"), "it")
    except StartFailed as error:
        print(error)
        print(*[event.type for event in manager.events(agent="it")])
"""


def test_who_is_not_root_is_refused_another_user(ordinary: Ordinary, tally: Tally) -> None:
    """The program does not run, the error says that it was about the user, and the log has it."""
    done = ordinary.runs(REFUSED)
    message, types = done.stdout.splitlines() or (done.stderr, "")
    assert "user" in message
    assert "Operation not permitted" in message
    assert types == "SPAWNING FAILED"
    assert not (ordinary.home.parent / "ran").exists()
    tally(DROPS)

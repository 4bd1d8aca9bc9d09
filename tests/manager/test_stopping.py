"""Stopping agents: three stages with their waits, each recorded before its signal, and then the tree is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest
from manager import Manager
from manager.commands import RequestStop
from manager.origin import Origin
from manager.process import procfs
from tests.support.agents import QUICK, data, program, python, shell, types
from tests.support.processes import eventually, runs
from tests.support.promises import check_promises, living, tell

POLITE = """
import signal, sys, time
signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(0)))
print('up', flush=True)
time.sleep(1000)
"""
STUBBORN = "trap '' TERM; echo up; while :; do sleep 1; done"


def _is_up(manager: Manager, home: Path, agent: str) -> bool:
    path = home / manager.status(agent).directory / "stdout.log"
    return path.exists() and "up" in path.read_text()


def _started(manager: Manager, home: Path, spec: object, name: str = "it") -> None:
    manager.spawn(spec, name)  # type: ignore[arg-type]
    eventually(lambda: _is_up(manager, home, name), "the agent has set its handlers")


def test_a_polite_agent_leaves_at_stage_one(manager: Manager, home: Path) -> None:
    """SIGTERM to the process is enough: CANCELLED with its own code, and its last words are kept."""
    _started(manager, home, python(home, POLITE))
    status = manager.stop("it", reason="enough")
    assert (status.state, status.exit and status.exit.code) == ("CANCELLED", 0)
    assert types(manager, "it")[-4:] == ["STOP_REQUESTED", "SIGTERM_SENT", "ZOMBIE_REAPED", "CANCELLED"]
    (request,) = data(manager, "it", "STOP_REQUESTED")
    assert (request["cause"], request["reason"], request["grace_seconds"]) == (
        "user",
        "enough",
        [10.0, 5.0, 5.0],
    )
    assert (home / status.directory / "stdout.log").read_text() == "up\nbye\n"


def test_an_agent_that_ignores_sigterm_is_killed_by_the_deadlines(manager: Manager, home: Path) -> None:
    """Stage 1, stage 2, stage 3, each after the wait before it, and not sooner: KILLED by signal 9."""
    _started(manager, home, shell(home, STUBBORN))
    status = manager.stop("it", grace=(0.5, 0.7, 20.0))
    assert (status.state, status.exit and status.exit.signal) == ("KILLED", 9)
    events = {
        f"{e.type} {e.as_json()['data'].get('stage', '')}".strip(): e for e in manager.events(agent="it")
    }
    first, second, third = (
        events[k].occurred_at for k in ("SIGTERM_SENT 1", "SIGTERM_SENT 2", "SIGKILL_SENT")
    )
    assert 500_000 <= second - first < 5_000_000
    assert 700_000 <= third - second < 5_000_000
    assert list(living(home)) == []


def test_the_children_of_a_deaf_agent_get_their_last_word(manager: Manager, home: Path) -> None:
    """Stage 2 is SIGTERM to the whole tree, to each process of it, before anybody is killed; stage 1 was not theirs."""
    child = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (print('child: bye', flush=True), sys.exit(0)))\n"
        "print('child: up', flush=True)\ntime.sleep(1000)\n"
    )
    parent = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(15, lambda *_: print('parent: deaf', flush=True))\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {child!r}], start_new_session=True)\n"
        "while True: time.sleep(1000)\n"
    )
    _started(manager, home, python(home, parent))
    status = manager.stop("it", grace=(0.5, 300.0, 20.0), wait=False)
    output = home / status.directory / "stdout.log"
    eventually(lambda: len(output.read_text().splitlines()) >= 4, "all have said what they had to say")
    *first, one, other = output.read_text().splitlines()
    assert first == ["child: up", "parent: deaf"]
    assert {one, other} == {"parent: deaf", "child: bye"}  # side by side
    assert manager.kill("it").state == "KILLED"


def test_a_stopped_process_is_ended_all_the_same(manager: Manager, home: Path) -> None:
    """A process under SIGSTOP cannot see SIGTERM; a stop wakes it, and it leaves at stage one."""
    _started(manager, home, python(home, POLITE))
    pid = manager.status("it").pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: manager.status("it").vitals.process_status == "stopped", "it is stopped")
    assert not manager.health("it").is_ok
    assert manager.stop("it", grace=(10.0, 5.0, 5.0)).state == "CANCELLED"
    assert "SIGKILL_SENT" not in types(manager, "it")


def test_daemonised_grandchildren_go_too(manager: Manager, home: Path) -> None:
    """What an agent put into sessions of their own, reparented and with another environment, ends with it."""
    script = "for i in 1 2 3; do (setsid env -i sleep 1000 &) ; done; echo up; sleep 1000"
    _started(manager, home, shell(home, script))
    shim = procfs.read_stat(manager.status("it").pid or 0)
    assert shim is not None
    eventually(lambda: (manager.status("it").vitals.processes or 0) >= 5, "all are there")
    found = [pid for pid in procfs.all_pids() if (s := procfs.read_stat(pid)) and s.parent == shim.parent]
    assert len(found) >= 4
    manager.stop("it", grace=QUICK)
    eventually(lambda: not any(map(runs, found)), "the whole tree is gone")
    (reaped,) = data(manager, "it", "ZOMBIE_REAPED")
    assert reaped["is_tree_complete"]


def test_a_kill_takes_less_than_a_second(manager: Manager, home: Path) -> None:
    """`kill` asks nobody: SIGKILL to the whole tree at once, seen to be gone."""
    _started(
        manager, home, shell(home, "trap '' TERM; setsid sleep 1000 & echo up; while :; do sleep 1; done")
    )
    before = time.monotonic()
    status = manager.kill("it")
    assert time.monotonic() - before < 1.0
    assert status.state == "KILLED"
    assert list(living(home)) == []
    assert "SIGTERM_SENT" not in types(manager, "it")


def test_a_fork_bomb_ends(manager: Manager, home: Path) -> None:
    """Processes that fork while they are being killed are all gone soon after."""
    _started(
        manager,
        home,
        shell(
            home,
            "echo up; n=0; while [ $n -lt 60 ]; do sh -c 'sleep 1000 & sleep 1000' & n=$((n+1)); done; wait",
        ),
    )
    manager.kill("it")
    eventually(lambda: list(living(home)) == [], "every descendant is gone", seconds=5.0)


def test_until_tree_follows_a_daemon(manager: Manager, home: Path) -> None:
    """With until=tree a program that puts itself into the background runs on, and is stopped like any other."""
    _started(manager, home, shell(home, "(setsid sleep 1000 &); echo up; exit 0", until="tree"))
    eventually(lambda: len(list(living(home))) == 1, "only the daemon is left")
    assert manager.status("it").state == "RUNNING"
    assert manager.health("it").is_ok
    status = manager.stop("it", grace=QUICK)
    assert (status.state, status.exit and status.exit.code) == ("CANCELLED", 0)
    assert list(living(home)) == []


def test_a_kill_during_a_stop(manager: Manager, home: Path) -> None:
    """Whoever has no patience left kills what is being stopped."""
    _started(manager, home, shell(home, STUBBORN))
    assert manager.stop("it", grace=(300, 300, 5), wait=False).state == "STOPPING"
    assert manager.kill("it").state == "KILLED"
    assert types(manager, "it").count("STOP_REQUESTED") == 2


def test_stopping_what_has_ended(manager: Manager, home: Path) -> None:
    """Nothing happens: no event, no error, the same status."""
    ended = manager.wait(manager.spawn(program(home, "true"), "it"))
    before = types(manager, "it")
    assert manager.stop("it") == ended
    assert types(manager, "it") == before


def test_a_signal_is_recorded_first(manager: Manager, home: Path) -> None:
    """`signal` reaches the main process; the log says who sent which, before it was sent."""
    script = "trap 'echo got' USR1; echo up; while :; do sleep 0.1; done"
    _started(manager, home, shell(home, script))
    manager.signal("it", signal.SIGUSR1, reason="rotate")
    path = home / manager.status("it").directory / "stdout.log"
    eventually(lambda: "got" in path.read_text(), "the signal has come")
    assert data(manager, "it", "SIGNAL_SENT") == [{"attempt": 1, "signal": 10, "reason": "rotate"}]
    with pytest.raises(InvalidRequest):
        manager.signal("it", 0)
    manager.kill("it")
    with pytest.raises(InvalidRequest):
        manager.signal("it", signal.SIGUSR1)


def test_all_are_stopped_side_by_side(manager: Manager, home: Path) -> None:
    """Ten stubborn agents take as long as one."""
    manager.spawn_many([(f"s{n}", shell(home, STUBBORN)) for n in range(10)])
    for n in range(10):
        eventually(lambda n=n: _is_up(manager, home, f"s{n}"), "its trap is set")  # type: ignore[misc]
    before = time.monotonic()
    statuses = manager.stop_all(grace=(1.0, 0.5, 20.0))
    assert time.monotonic() - before < 8.0
    assert {status.state for status in statuses} == {"KILLED"}
    assert list(living(home)) == []


def test_a_new_coordinator_goes_on_with_a_half_done_stop(home: Path) -> None:
    """The deadlines are in the log: after a kill -9 the waits go on, they do not begin anew, and nobody asks twice."""
    told = tell(home, "start", "begin_to_stop", "die")
    told.communicate(timeout=60)
    time.sleep(1.0)  # both waits of the stop (0.5 s each) pass while nobody is there
    with Manager.open(home) as manager:
        assert manager.recovery is not None
        assert manager.recovery.resumed_stops == 1
        eventually(lambda: manager.status("family").state == "KILLED", "the stop comes to its end")
        assert data(manager, "family", "STOP_REQUESTED")[0]["grace_seconds"] == [0.5, 0.5, 20.0]
        assert types(manager, "family").count("STOP_REQUESTED") == 1
        assert types(manager, "family").count("SIGTERM_SENT") == 2
    check_promises(home)


def test_an_exact_exit_without_a_shim(manager: Manager, home: Path) -> None:
    """An agent whose shim is killed runs on; its exit code is exact, from the kernel, or unknown: never 0."""
    manager.spawn(shell(home, "sleep 1; exit 7"), "it")
    main = procfs.read_stat(manager.status("it").pid or 0)
    assert main is not None
    os.kill(main.parent, signal.SIGKILL)
    eventually(lambda: "REATTACHED" in types(manager, "it"), "it is watched without its shim")
    status = manager.wait("it", timeout=30)
    assert status.exit is not None
    assert (status.exit.kind, status.exit.code) in (("code", 7), ("unknown", None))
    (reaped,) = data(manager, "it", "ZOMBIE_REAPED")
    assert not reaped["is_tree_complete"]


def test_closing_leaves_agents_running_unless_asked(home: Path) -> None:
    """`with Manager.open(…)` ends and the agents go on; `close(stop_agents=True)` stops them first."""
    with Manager.open(home) as manager:
        pid = manager.spawn(program(home, "sleep", "1000"), "it").pid
    assert pid is not None
    assert runs(pid)
    manager = Manager.open(home)
    manager.close(stop_agents=True)
    manager.close()
    assert not runs(pid)


def test_a_look_sent_the_signal_of_a_stage_that_was_not_recorded_yet(manager: Manager, home: Path) -> None:
    """A recovery meets a stop whose event waits for its commit: nobody is signalled before it is durable."""
    manager.spawn(program(home, "sleep", "1000"), "it")
    coordinator = manager._coordinator
    assert coordinator is not None
    supervisor, agent = coordinator.supervisor, manager.status("it").id

    async def has_ended_too_soon() -> bool:
        supervisor.stops.request(agent, RequestStop(forced=True), Origin.of("test"))
        supervisor.reconcile(agent)
        time.sleep(0.05)  # noqa: ASYNC251 - so that the commit does not come in between
        return supervisor.attached[agent].has_main_ended()

    assert coordinator.call(has_ended_too_soon()).result() is False
    assert manager.wait("it", timeout=20).state == "KILLED"

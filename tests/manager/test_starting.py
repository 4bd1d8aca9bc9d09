"""Starting agents: verified, once a name, and nothing left of those that cannot be started."""

from __future__ import annotations

import errno
import pwd
import resource
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from eventstore.errors import InvalidRequest, NameInUse, UnknownAgent
from manager import AgentSpec, Manager, SpecConflict, StartFailed, TimedOut
from tests.support import story
from tests.support.agents import data, program, shell, types
from tests.support.processes import eventually, runs
from tests.support.projected import wrong_rows
from tests.support.promises import living


def test_a_started_agent_is_verified(manager: Manager, home: Path) -> None:
    """`spawn` returns once the process has lived through its start window, and says who it is."""
    before = time.monotonic()
    agent = manager.spawn(program(home, "sleep", "1000"), "builder")
    assert time.monotonic() - before >= 0.1
    assert (agent.name, agent.state, agent.attempt, agent.is_alive) == ("builder", "RUNNING", 1, True)
    assert agent.pid is not None
    assert runs(agent.pid)
    assert types(manager, "builder") == ["SPAWNING", "STARTED", "RUNNING"]


def test_agents_start_side_by_side(manager: Manager, home: Path) -> None:
    """Start windows overlap: twenty agents with a window of a second do not take twenty seconds."""
    before = time.monotonic()
    spec = program(home, "sleep", "1000", start_window_seconds=1.0)
    agents = manager.spawn_many([(f"a{n}", spec) for n in range(20)])
    assert time.monotonic() - before < 10
    assert [agent.name for agent in agents] == [f"a{n}" for n in range(20)]
    assert {agent.state for agent in agents} == {"RUNNING"}
    assert len({agent.pid for agent in agents}) == 20


def test_many_with_a_bad_one(manager: Manager, home: Path) -> None:
    """One that cannot be started is in the list as FAILED; the others run."""
    good, bad = manager.spawn_many(
        [(None, program(home, "sleep", "1000")), (None, program(home, "/nowhere"))]
    )
    assert (good.state, bad.state, bad.cause) == ("RUNNING", "FAILED", "failed start")


def test_a_name_is_used_once(manager: Manager, home: Path) -> None:
    """A name of an agent that has not ended is refused, in the same call too, and nothing is started."""
    spec = program(home, "sleep", "1000")
    manager.spawn(spec, "one")
    with pytest.raises(NameInUse):
        manager.spawn(spec, "one")
    with pytest.raises(NameInUse):
        manager.spawn_many([("two", spec), ("two", spec)])
    with pytest.raises(InvalidRequest):
        manager.spawn(spec, "../../etc")
    assert [status.name for status in manager.statuses(all=True)] == ["one"]
    assert len(list(living(home))) == 1


def test_an_ended_agents_name_is_free_again(manager: Manager, home: Path) -> None:
    """`run --name` after the end is a new agent; the name then means the new one."""
    first = manager.spawn(program(home, "true"), "job")
    first = manager.wait(first)
    second = manager.spawn(program(home, "sleep", "1000"), "job")
    assert second.id != first.id
    assert manager.status("job").id == second.id
    assert manager.status(first.id).state == "COMPLETED"


def test_labels_in_any_order_keep_no_home_closed(home: Path) -> None:
    """The rows of an agent are what the log says in whatever order its labels were given, also as 0.1 wrote them."""
    with Manager.open(home) as manager:
        agent = manager.spawn(program(home, "sleep", "1000", labels={"team": "blue", "area": "x"}), "it")
    with Manager.open(home):
        pass
    with closing(sqlite3.connect(home / "events.db")) as database, database:
        now, then = '{"area":"x","team":"blue"}', '{"team":"blue","area":"x"}'
        database.execute("UPDATE agents SET state_json = replace(state_json, ?, ?)", (now, then))
        assert then in database.execute("SELECT state_json FROM agents").fetchone()[0]
    assert wrong_rows(home) == []
    with Manager.open(home) as manager:
        assert manager.status("it").pid == agent.pid


def test_ensure_starts_once(home: Path) -> None:
    """The same script is start and restart: `ensure` never starts a second one, in a new coordinator either."""
    spec = program(home, "sleep", "1000")
    with Manager.open(home) as manager:
        first = manager.ensure("task", spec)
        assert manager.ensure("task", spec).pid == first.pid
    with Manager.open(home) as manager:
        assert manager.ensure("task", spec).pid == first.pid
        with pytest.raises(SpecConflict):
            manager.ensure("task", program(home, "sleep", "1001"))
        manager.kill("task")
        assert manager.ensure("task", spec).state == "KILLED"  # ended is ended: it is not started again
        assert types(manager, "task").count("SPAWNING") == 1


def test_ensure_sees_another_value_of_a_variable(manager: Manager, home: Path) -> None:
    """Two specs that differ in a secret's value alone differ, although the log never holds the value."""
    manager.ensure("task", program(home, "sleep", "1000", env={"TOKEN": "correct-horse"}))
    with pytest.raises(SpecConflict):
        manager.ensure("task", program(home, "sleep", "1000", env={"TOKEN": "battery-staple"}))
    log = "".join(event.data for event in manager.events())
    assert "TOKEN" in log
    assert "correct-horse" not in log


FAILURES = [
    ("no such program", {"command": ("/nowhere/at/all",)}, "exec", errno.ENOENT),
    ("not in PATH", {"command": ("no-such-program-here",)}, "exec", errno.ENOENT),
    ("not executable", {"command": ("/etc/passwd",)}, "exec", errno.EACCES),
    ("a directory", {"command": ("/etc",)}, "exec", errno.EACCES),
    ("no such directory", {"command": ("true",), "cwd": "/nowhere/at/all"}, "cwd", errno.ENOENT),
    ("directory is a file", {"command": ("true",), "cwd": "/etc/passwd"}, "cwd", errno.ENOTDIR),
]


@pytest.mark.parametrize(
    ("spec", "phase", "number"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_a_failed_start_says_why(
    manager: Manager, home: Path, spec: dict[str, object], phase: str, number: int
) -> None:
    """What cannot be executed is FAILED with its errno at once, and leaves no process."""
    with pytest.raises(StartFailed, match=r"^cannot start") as caught:
        manager.spawn(AgentSpec.model_validate({"env": {story.MARK: str(home)}, **spec}), "bad")
    assert caught.value.errno == number
    (failed,) = data(manager, "bad", "FAILED")
    assert (failed["cause"], failed["phase"], failed["errno"]) == ("failed start", phase, number)
    assert "STARTED" not in types(manager, "bad")
    assert list(living(home)) == []


def test_an_early_end_is_a_failed_start_with_its_last_words(manager: Manager, home: Path) -> None:
    """An agent that ends inside its window failed to start; the error shows what it wrote last."""
    with pytest.raises(StartFailed, match="no config") as caught:
        manager.spawn(shell(home, "echo no config >&2; exit 3", start_window_seconds=5.0), "bad")
    assert caught.value.status.exit is not None
    assert caught.value.status.exit.code == 3


def test_an_unknown_user_is_refused(manager: Manager, home: Path) -> None:
    """A user that does not exist is refused before anything is recorded."""
    with pytest.raises(InvalidRequest, match="no-such-user"):
        manager.spawn(program(home, "true", user="no-such-user"))
    assert list(manager.events())[-1].type == "RECOVERY_COMPLETED"


@pytest.mark.root
def test_running_as_another_user(manager: Manager, home: Path, tmp_path: Path) -> None:
    """The agent has the user's ids and groups and nothing of root's."""
    nobody = pwd.getpwnam("nobody")
    agent = manager.spawn(shell(home, "id -u; id -g; id -G", user="nobody", cwd="/"))
    agent = manager.wait(agent)
    said = (home / agent.directory / "stdout.log").read_text().splitlines()
    assert said[:2] == [str(nobody.pw_uid), str(nobody.pw_gid)]
    assert "0" not in said[2].split()


def test_output_goes_to_files(manager: Manager, home: Path) -> None:
    """stdout and stderr are the agent's own files, whoever watches."""
    agent = manager.wait(manager.spawn(shell(home, "echo out; echo err >&2")))
    directory = home / agent.directory
    assert (directory / "stdout.log").read_text() == "out\n"
    assert (directory / "stderr.log").read_text() == "err\n"


def test_an_agent_knows_who_it_is(manager: Manager, home: Path) -> None:
    """Its name, id and attempt are in its environment; its descriptors are the caller's original limit, not ours."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)
    agent = manager.wait(
        manager.spawn(
            shell(home, 'echo "$OUTLIVE_AGENT $OUTLIVE_AGENT_ID $OUTLIVE_ATTEMPT"; ulimit -n'), "me"
        )
    )
    said = (home / agent.directory / "stdout.log").read_text().splitlines()
    assert said[0] == f"me {agent.id} 1"
    assert int(said[1]) <= soft[0]


def test_waiting(manager: Manager, home: Path) -> None:
    """`wait` gives the agent after its end; past its timeout it gives up and the agent goes on."""
    agent = manager.spawn(program(home, "sleep", "1000"))
    with pytest.raises(TimedOut):
        manager.wait(agent, timeout=0.2)
    assert manager.status(agent).is_alive
    quick = manager.spawn(shell(home, "sleep 0.3; exit 4"))
    done = manager.wait_many([agent, quick], any=True, timeout=30)
    assert [status.state for status in done] == ["RUNNING", "FAILED"]
    assert manager.wait(quick).exit == done[1].exit
    with pytest.raises(UnknownAgent):
        manager.wait("nobody-of-that-name")


def test_looking(manager: Manager, home: Path) -> None:
    """Status, health and summary speak of what is there now."""
    busy = manager.spawn(shell(home, "sleep 1000 & sleep 1000"), "busy")
    manager.wait(manager.spawn(shell(home, "sleep 0.2; exit 1"), "done"))
    eventually(
        lambda: (manager.status(busy).vitals.processes or 0) >= 3, "sh and its two children are counted"
    )
    summary = manager.summary()
    assert (summary.total, summary.live) == (2, 1)
    assert summary.by_state["RUNNING"] == 1
    assert summary.memory_bytes > 0
    assert manager.health("busy").is_ok
    assert not manager.health("done").is_ok
    assert [status.name for status in manager.statuses()] == ["busy"]
    assert [status.name for status in manager.statuses(all=True)] == ["busy", "done"]


def test_the_old_names_still_work(manager: Manager, home: Path) -> None:
    """Programs written for the design that this one replaces go on working."""
    agent = manager.spawn_agent(program(home, "sleep", "1000"), "old")
    assert manager.get_agent_status("old").pid == agent.pid
    assert [status.name for status in manager.monitor_all_agents()] == ["old"]
    assert manager.get_process_summary().live == 1
    assert manager.check_process_health("old").is_ok
    assert manager.reap_zombies() == []
    assert manager.kill_agent("old").state == "KILLED"
    manager.spawn_agent(program(home, "sleep", "1000"), "older")
    assert [status.state for status in manager.cleanup()] == ["CANCELLED"]


def test_a_start_was_lost_to_a_coordinator_that_left(home: Path) -> None:
    """What was started without waiting runs, though its coordinator closes at once: it hands over its starts first."""
    with Manager.open(home) as manager:
        ids = [
            status.id
            for status in manager.spawn_many([(None, program(home, "sleep", "1000"))] * 20, wait=False)
        ]
    with Manager.open(home) as manager:
        assert {manager.status(agent_id).state for agent_id in ids} <= {"SPAWNING", "RUNNING"}
        eventually(
            lambda: all(manager.status(agent_id).state == "RUNNING" for agent_id in ids), "all of them run"
        )
        manager.kill_all()

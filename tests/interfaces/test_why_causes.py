"""Agents that die of each cause there is, made for real; `why` names it, with its evidence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager import Manager, RestartPolicy, StartFailed
from manager import commands as do
from manager.commands import StopCause
from manager.why.model import PostMortem
from manager.why.sections import sections
from manager.why.words import summary
from tests.faults.boots import under_another_boot
from tests.faults.test_memory import EACH_BYTES, LIMIT_BYTES, can_be_seen
from tests.interfaces.command_line import PROGRAM, ROOT, CommandLine
from tests.support.agents import QUICK, data, program, python, shell
from tests.support.groups import group
from tests.support.processes import eventually
from tests.support.promises import clean_up

OTHER = "signal by someone else"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home; everything that carries its mark is ended afterwards."""
    path = tmp_path / "home"
    yield path
    clean_up(path)


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    """Its coordinator."""
    with Manager.open(home, actor="night shift") as opened:
        yield opened


def told(found: PostMortem) -> tuple[str, str]:
    """The verdict in two words."""
    return found.verdict.cause, found.verdict.certainty


def rests_on(found: PostMortem, *kinds: str) -> None:
    """Its evidence names events of all these types."""
    named = {position for one in found.verdict.evidence for position in one.positions}
    types = {entry.position: entry.type for entry in (*found.events, *found.home_events)}
    assert set(kinds) <= {types[position] for position in named if position in types}


def test_exits(manager: Manager, home: Path) -> None:
    """A code of its own is "exit", or "completed" where it is a success; its shim saw it."""
    bad = manager.spawn(shell(home, "sleep 0.4; echo 'no room on disk 7' >&2; exit 3"), "bad")
    good = manager.spawn(shell(home, "sleep 0.4"), "good")
    manager.wait_many([bad, good], timeout=60)
    found = manager.why("bad")
    assert told(found) == ("exit", "certain")
    rests_on(found, "ZOMBIE_REAPED")
    assert [one.source for one in found.verdict.evidence] == ["shim record"]
    assert found.error_line == "no room on disk 7"
    assert found.left_over is not None
    assert found.left_over.pids == ()
    assert (found.followed.what, found.asked[0].actor) == ("nothing", "night shift")
    assert told(manager.why(good)) == ("completed", "certain")


def test_failed_starts(manager: Manager, home: Path) -> None:
    """What was not executed, and what ended inside its start window."""
    short = shell(home, "exit 4", start_window_seconds=60)
    for name, spec in {"none": program(home, "/no/such/program"), "short": short}.items():
        with pytest.raises(StartFailed):
            manager.spawn(spec, name)
        assert told(manager.why(name)) == ("failed start", "certain")
    found = manager.why("none")
    assert (found.verdict.phase, found.verdict.errno) == ("exec", 2)
    assert found.started_at is None
    rests_on(manager.why("short"), "FAILED", "ZOMBIE_REAPED")


def test_signals_of_ours(manager: Manager, home: Path) -> None:
    """A stop, one that comes to its SIGKILL, a kill, one that is obeyed with a code, and an ordered signal."""
    names = ("stopped", "stubborn", "killed", "obedient", "signalled")
    sleeper = shell(home, "exec sleep 300")
    obedient = shell(home, "trap 'exit 5' TERM; echo ready; sleep 300 & wait")
    specs = (sleeper, python(home, STUBBORN), sleeper, obedient, sleeper)
    manager.spawn_many(list(zip(names, specs, strict=True)))
    for name in ("stubborn", "obedient"):
        eventually((home / manager.status(name).directory / "stdout.log").read_text, f"{name} is ready")
    manager.stop_many(["stopped", "stubborn", "obedient"], grace=QUICK, reason="release 7")
    manager.kill("killed", reason="at once")
    manager.signal("signalled", signal.SIGUSR1, reason="rotate")
    manager.wait_many(names, timeout=60)
    found = {name: manager.why(name) for name in names}
    assert {one.verdict.cause for one in found.values()} == {"signal by us"}
    assert [found[name].verdict.certainty for name in names[:4]] == [
        "certain",
        "certain",
        "certain",
        "likely",
    ]
    rests_on(found["stopped"], "SIGTERM_SENT", "ZOMBIE_REAPED")
    rests_on(found["stubborn"], "SIGKILL_SENT")
    rests_on(found["signalled"], "SIGNAL_SENT")
    orders = {name: (one.asked[-1].what, one.asked[-1].reason) for name, one in found.items()}
    assert orders["stopped"] == orders["obedient"] == ("stop", "release 7")
    assert (orders["killed"], orders["signalled"]) == (("kill", "at once"), ("signal", "rotate"))


def test_signals_of_somebody_else(manager: Manager, home: Path) -> None:
    """Who sent them is unknown, and so it is told; SIGKILL may have been the kernel's, unless that is ruled out.

    Of a fault it is told what that is as a rule: a crash was "by someone else", and nothing more.
    """
    for name, number, certainty in (("segv", signal.SIGSEGV, "certain"), ("kill", signal.SIGKILL, "likely")):
        agent = manager.spawn(shell(home, "exec sleep 300"), name)
        assert agent.pid is not None
        os.kill(agent.pid, number)
        manager.wait(agent, timeout=60)
        found = manager.why(agent)
        assert told(found) == (OTHER, certainty)
        assert any("unknown" in one.text for one in found.verdict.evidence if one.source == "nobody")
        is_fault = "who sent it is unknown; as a rule that is a fault of the program itself." in summary(
            found
        )
        assert is_fault == (name == "segv")


@pytest.mark.root
def test_want_of_memory(manager: Manager, home: Path) -> None:
    """Killed by the kernel in a memory cgroup: "oom" where its log can be read, else no more than is known."""
    with group("memory") as memory:
        memory["memory.limit_in_bytes"] = LIMIT_BYTES + EACH_BYTES
        text = f"import time; open({str(memory.path / 'cgroup.procs')!r}, 'w').write('0'); time.sleep(0.5)\n"
        agent = manager.spawn(
            python(home, f"{text}eaten = [bytearray(1 << 20) for _ in range(4096)]"), "eater"
        )
        manager.wait(agent, timeout=60)
    found = manager.why("eater")
    assert told(found) == (("oom", "certain") if can_be_seen() else (OTHER, "likely"))
    assert any("want of memory" in one.text for one in found.verdict.evidence)


@pytest.mark.parametrize("cause", ["limit", "health"])
def test_stops_by_a_rule(manager: Manager, home: Path, cause: StopCause) -> None:
    """The order that a rule would give, of its health or of a limit, is given by hand."""
    agent = manager.spawn(shell(home, "exec sleep 300"), cause)
    order = do.RequestStop(cause=cause, reason="memory 1.2G of 1.0G")
    manager._do(manager._coordinator.stop([agent.id], order, manager._origin("rules"), wait=True))
    found = manager.why(agent)
    assert told(found) == (cause, "certain")
    rests_on(found, "STOP_REQUESTED", "SIGTERM_SENT", "FAILED")
    assert (found.verdict.message, found.asked[-1].actor) == ("memory 1.2G of 1.0G", "rules")


def test_an_end_that_nobody_saw(home: Path) -> None:
    """Shim and agent killed while no coordinator ran: unknown, with the reason, and never a code."""
    _end_unseen(home)
    with Manager.open(home) as manager:
        manager.wait("lost", timeout=60)
        found, shown = manager.why("lost"), manager.status("lost")
    assert told(found) == ("unknown", "unknown")
    assert "shim lost" in (found.verdict.message or "")
    assert (found.ended_at, found.runtime_seconds, shown.ended_at, shown.runtime_seconds) == (None,) * 4
    assert "ended unseen, not before" in "\n".join(sections(found, str)[-2].lines)
    assert "what followed" in {section.title for section in sections(found, str)}
    told_to_people = json.loads((home / shown.directory / "status.json").read_text())
    assert (told_to_people["exit"]["kind"], told_to_people["ended_at"]) == ("unknown", None)
    rests_on(found, "ZOMBIE_REAPED")
    assert found.left_over is not None
    assert not found.left_over.is_tree_complete


@pytest.mark.root
def test_a_host_that_was_restarted(home: Path, tmp_path: Path) -> None:
    """The boot ids tell, of its start and of the coordinator that looked for it."""
    _end_unseen(home)
    outlive = CommandLine(home=home, directory=tmp_path)
    command = [*under_another_boot(tmp_path), *PROGRAM, "recover"]
    subprocess.run(command, env=outlive.environment(), cwd=ROOT, check=True, timeout=60, capture_output=True)
    found = outlive.json("why", "lost")
    assert (found["verdict"]["cause"], found["verdict"]["certainty"]) == ("host lost", "likely")
    boots = next(one for one in found["verdict"]["evidence"] if one["source"] == "boot id")
    named = {event["position"]: event["type"] for event in (*found["events"], *found["home_events"])}
    assert [named[position] for position in boots["positions"]] == ["SPAWNING", "COORDINATOR_STARTED"]


def test_what_runs_tells_of_its_last_failure(manager: Manager, home: Path) -> None:
    """Still running, seen alive; and what became of the attempt before it, which can be asked for itself."""
    once = f"[ -e {home}/again ] && exec sleep 300; touch {home}/again; sleep 0.3; echo 'fatal: no lock' >&2; exit 9"
    rule = RestartPolicy(mode="on-failure", backoff_seconds=0.05)
    manager.spawn(shell(home, once, restart=rule), "flaky")
    eventually(
        lambda: manager.status("flaky").attempt == 2 and manager.status("flaky").is_alive, "it is back"
    )
    found = manager.why("flaky")
    assert told(found) == ("still running", "certain")
    assert found.last_failure is not None
    assert (found.last_failure.attempt, found.last_failure.error_line) == (1, "fatal: no lock")
    first = manager.why("flaky", attempt=1)
    assert told(first) == ("exit", "certain")
    assert first.followed.what == "restart"
    assert first.followed.next_attempt is not None
    assert first.followed.next_attempt.cause == "still running"


def _end_unseen(home: Path) -> None:
    """An agent named "lost" whose shim is killed before it, with nobody to see the end."""
    with Manager.open(home) as manager:
        agent = manager.spawn(shell(home, "exec sleep 300"), "lost")
        shim = int(data(manager, "lost", "STARTED")[0]["process"]["shim_pid"])
    pid = agent.pid
    assert pid is not None
    for process in (shim, pid):
        os.kill(process, signal.SIGKILL)
    # As long as nobody has reaped them the kernel can still tell how they ended.
    eventually(
        lambda: not Path(f"/proc/{pid}").exists() and not Path(f"/proc/{shim}").exists(), "both are gone"
    )


def test_a_shell_whose_child_was_killed_gave_137_and_no_word_of_it(outlive: CommandLine) -> None:
    """Its own exit is certain; what it means by 137 is said with it."""
    outlive("run", "--name", "it", "--", "sh", "-c", "sh -c 'sleep 0.3; kill -9 $$'; exit $?")
    outlive("wait", "it")
    verdict = outlive.json("why", "it")["verdict"]
    assert (verdict["cause"], verdict["exit"]["code"]) == ("exit", 137)
    assert any("ended by signal 9" in one["text"] for one in verdict["evidence"])

"""Starting, seeing and ending agents by the command line: real processes, exit codes as documented."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interfaces.command_line import PROGRAM, CommandLine, until

AGENT_FIELDS = {
    "id", "name", "state", "attempt", "pid", "started_at", "ended_at", "exit", "outcome", "health", "cpu_percent",
    "memory_bytes", "threads", "processes", "runtime_seconds", "is_zombie", "labels",
}  # fmt: skip


def test_an_agent_from_start_to_stop(outlive: CommandLine) -> None:
    """`run` prints an id once the agent runs, `ps` shows it, `stop` tells its stages and what was observed."""
    agent = outlive.run("--name", "sleeper", "--label", "team=a", "--", "sleep", "600")
    listed = outlive.json("ps")
    assert listed["schema"] == "outlive.agents/1"
    assert re.fullmatch(r"[0-9a-f]{64}", listed["head"]["hash"])
    (found,) = listed["agents"]
    assert found.keys() >= AGENT_FIELDS
    assert (found["id"], found["name"], found["state"]) == (agent, "sleeper", "RUNNING")
    assert found["labels"] == {"team": "a"}
    assert Path(f"/proc/{found['pid']}/cmdline").read_bytes() == b"sleep\x00600\x00"

    plain = outlive("ps").stdout.splitlines()
    assert plain[0].split("\t")[:3] == ["NAME", "ID", "STATE"]
    assert plain[1].split("\t")[:3] == ["sleeper", agent, "RUNNING"]
    assert outlive("ps", "--label", "team=b").stdout.count("\n") == 1
    assert outlive("health").returncode == 0
    assert outlive("status", agent[:8]).returncode == 0

    stopped = outlive("stop", "sleeper", "--reason", "enough")
    assert stopped.returncode == 0, stopped.stderr
    assert "sleeper: 0.0s  stop requested: enough" in stopped.stderr
    assert "SIGTERM sent to the process" in stopped.stderr
    assert stopped.stdout == "sleeper\tCANCELLED\tsignal 15 (SIGTERM)\n"
    assert not Path(f"/proc/{found['pid']}").exists()
    assert outlive("ps").stdout.count("\n") == 1
    assert outlive("ps", "--state", "cancelled").stdout.count("\n") == 2
    assert outlive("status", "sleeper").returncode == 3
    assert outlive("health", "sleeper").returncode == 3


def test_stop_of_an_ended_agent_is_no_error(outlive: CommandLine) -> None:
    """An agent that has ended already is said to have; the exit code stays 0."""
    outlive.run("--name", "quick", "--", "true")
    again = outlive("stop", "quick")
    assert again.returncode == 0
    assert "quick: already ended: COMPLETED, exit code 0" in again.stderr
    assert outlive("signal", "quick", "-s", "TERM").returncode == 3


def test_several_agents_are_stopped_side_by_side(outlive: CommandLine) -> None:
    """Agents that ignore SIGTERM are killed after their waits, together and not one after the other."""
    for name in ("a", "b", "c"):
        outlive.run(
            "--name",
            name,
            "--start-window",
            "500ms",
            "--",
            "sh",
            "-c",
            "trap '' TERM; while :; do sleep 1; done",
        )
    stopped = outlive("stop", "--all", "--grace", "1s,1s,10s", "--json")
    assert stopped.returncode == 0, stopped.stderr
    found = json.loads(stopped.stdout)["agents"]
    assert [agent["state"] for agent in found] == ["KILLED"] * 3
    assert {agent["exit"]["signal"] for agent in found} == {signal.SIGKILL}
    for name in ("a", "b", "c"):
        assert re.search(
            rf"^{name}: [12]\.\ds  SIGKILL sent to its whole tree$", stopped.stderr, re.MULTILINE
        ), stopped.stderr
    assert outlive("stop", "--all").returncode == 0


def test_kill_takes_the_whole_tree(outlive: CommandLine) -> None:
    """`kill` leaves nothing of an agent, not even what it started in a session of its own."""
    outlive.run("--name", "tree", "--", "sh", "-c", "setsid sleep 613 & sleep 613 & wait")
    tree = until(
        lambda: (
            len(outlive.json("status", "tree")["agents"][0]["process_tree"]) == 3
            and outlive.json("status", "tree")
        )
    )
    pids = [row["pid"] for row in tree["agents"][0]["process_tree"]]
    done = outlive("kill", "tree", "--reason", "runaway")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tree\tKILLED\tsignal 9 (SIGKILL)\n"
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_run_follow_is_like_running_it(outlive: CommandLine) -> None:
    """`run --follow` gives the agent's output, byte for byte on the right stream, and its exit code."""
    script = "import sys, time; sys.stdout.buffer.write(bytes(range(256))); print('oops', file=sys.stderr)"
    script += "; time.sleep(0.5); sys.exit(7)"
    done = subprocess.run(
        [*PROGRAM, "run", "--follow", "--", sys.executable, "-c", script],
        env=outlive.environment(),
        cwd=outlive.directory,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, bytes(range(256)), b"oops\n")


def test_run_follow_of_a_program_that_ends_at_once(outlive: CommandLine) -> None:
    """Even an end within the start window gives the program's own code and all of its output."""
    done = outlive("run", "--follow", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert outlive("run", "--follow", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert outlive("run", "--follow", "--", "true").returncode == 0


def test_ctrl_c_ends_the_following_and_not_the_agent(outlive: CommandLine) -> None:
    """Ctrl-C during `--follow` leaves the agent running and says so."""
    process = outlive.start("run", "--name", "long", "--follow", "--", "sh", "-c", "echo ready; sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "long goes on running" in stderr
    assert outlive("status", "long").returncode == 0


def test_wait_returns_the_agents_own_code(outlive: CommandLine) -> None:
    """`wait` gives the code, 128 + signal, the first that is not 0, and 124 when the time is over."""
    outlive.run("--name", "three", "--", "sh", "-c", "sleep 1; exit 3")
    outlive.run("--name", "zero", "--", "sh", "-c", "sleep 0.5")
    outlive.run("--name", "never", "--", "sleep", "600")
    timed_out = outlive("wait", "never", "--timeout", "200ms")
    assert timed_out.returncode == 124
    assert timed_out.stderr.startswith("outlive: cannot wait longer: 0.2 s have passed")
    assert outlive("wait", "zero", "three").returncode == 3
    assert outlive("wait", "--any", "never", "zero").returncode == 0
    outlive("kill", "never")
    assert outlive("wait", "never").returncode == 137


def test_signal_is_delivered_and_recorded(outlive: CommandLine) -> None:
    """`signal` sends exactly what was asked for, to the main process, and the log says who asked."""
    outlive.run(
        "--name",
        "usr",
        "--start-window",
        "1s",
        "--",
        "sh",
        "-c",
        "trap 'echo got; exit 4' USR1; while :; do sleep 0.1; done",
    )
    sent = outlive("signal", "usr", "-s", "USR1", "--reason", "wake up")
    assert sent.returncode == 0, sent.stderr
    assert "SIGUSR1 sent" in sent.stdout
    assert outlive("wait", "usr").returncode == 4
    assert outlive("logs", "usr").stdout == "got\n"
    events = outlive("events", "usr", "--type", "signal_sent").stdout
    assert f"SIGUSR1 sent: wake up  [uid:{os.getuid()}/cli]" in events


def test_restart_is_a_new_attempt(outlive: CommandLine) -> None:
    """`restart` ends a running agent and starts its next attempt; both outputs stay readable."""
    agent = outlive.run("--name", "again", "--", "sh", "-c", "echo attempt $OUTLIVE_ATTEMPT; sleep 600")
    first = outlive.json("status", "again")["agents"][0]["pid"]
    done = outlive("restart", "again", "--reason", "new weights")
    assert (done.returncode, done.stdout.strip()) == (0, agent), done.stderr
    status = outlive.json("status", "again")["agents"][0]
    assert (status["attempt"], status["state"]) == (2, "RUNNING")
    assert status["pid"] != first
    assert not Path(f"/proc/{first}").exists()
    assert until(lambda: outlive("logs", "again").stdout) == "attempt 2\n"
    assert outlive("logs", "again", "--attempt", "1").stdout == "attempt 1\n"
    assert outlive("logs", "again", "--attempt", "3").returncode == 2


def test_environment_and_directory(outlive: CommandLine, tmp_path: Path) -> None:
    """The agent starts where you are, with your environment, or with exactly what you say."""
    (tmp_path / "vars").write_text("# comment\nFROM_FILE=a b\n")
    (tmp_path / "sub").mkdir()
    show = (
        "--",
        sys.executable,
        "-c",
        "import os; print(os.getcwd(), sorted(os.environ.items()), oct(os.umask(0)))",
    )
    outlive.run("--name", "plain", *show)
    assert str(tmp_path) in outlive("logs", "plain").stdout
    done = outlive("run", "--name", "clean", "--clean-env", "--env", "A=1", "--env", "B", "--env-file", "vars",
                   "--cwd", "sub", "--umask", "027", *show, B="passed on", C="not")  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = outlive("logs", "clean").stdout
    assert shown.startswith(str(tmp_path / "sub"))
    assert shown.rstrip().endswith("0o27")
    for pair in ("('A', '1')", "('B', 'passed on')", "('FROM_FILE', 'a b')"):
        assert pair in shown
    assert "('C'" not in shown
    assert "passed on" not in outlive("events", "--json").stdout


@pytest.mark.parametrize("options", [(), ("--no-wait",)])
def test_run_as_json(outlive: CommandLine, options: tuple[str, ...]) -> None:
    """`run --json` prints the agent object; `--no-wait` returns before it is seen to run, with exit 0."""
    found = json.loads(outlive("run", "--json", *options, "--", "sleep", "600").stdout)
    assert found.keys() >= AGENT_FIELDS
    assert found["state"] in (("SPAWNING", "RUNNING") if options else ("RUNNING",))


def test_success_codes_and_restart_policy(outlive: CommandLine) -> None:
    """Codes that count as success are COMPLETED; a failing agent is restarted as often as allowed."""
    done = outlive(
        "run", "--follow", "--name", "ok", "--success-codes", "0,3", "--", "sh", "-c", "sleep 0.3; exit 3"
    )
    assert done.returncode == 3
    assert outlive.json("status", "ok")["agents"][0]["state"] == "COMPLETED"
    script = "echo try $OUTLIVE_ATTEMPT; sleep 0.3; exit 5"
    done = outlive("run", "--follow", "--name", "bad", "--restart", "on-failure:1", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (5, "try 1\ntry 2\n")
    assert "RESTART_GIVEN_UP" in outlive("events", "bad").stdout


def test_commands_ask_the_coordinator_that_holds_the_home(outlive: CommandLine) -> None:
    """While one command waits, others act through it; one that is stopped is named, and ended by `--takeover`."""
    outlive.run("--name", "a", "--", "sleep", "600")
    outlive.run("--name", "b", "--", "sleep", "600")
    waiting = outlive.start("wait", "b")
    until(
        lambda: any(
            f"process {waiting.pid} " in check["detail"] for check in outlive.json("doctor")["checks"]
        )
    )
    assert outlive("stop", "a").returncode == 0
    assert (
        outlive("run", "--name", "c", "--env", "A=b", "--", "sh", "-c", "echo $A $PWD; sleep 600").returncode
        == 0
    )
    assert until(lambda: outlive("logs", "c").stdout) == f"b {outlive.directory}\n"
    assert outlive("run", "--name", "c", "--", "true").returncode == 8
    assert outlive("run", "--", "no-such-program").returncode == 127

    assert outlive("--takeover", "stop", "c").returncode == 0
    assert waiting.poll() is None  # it answers, so it was asked

    waiting.send_signal(signal.SIGSTOP)
    refused = outlive("stop", "b")
    assert refused.returncode == 7
    assert f"process {waiting.pid}" in refused.stderr
    assert "stopped" in refused.stderr
    assert outlive.json("status", "b")["agents"][0]["state"] == "RUNNING"
    assert outlive("stop", "b", "--takeover").returncode == 0
    assert waiting.wait(timeout=60) == -signal.SIGKILL
    assert f"process {waiting.pid} held the home, did not answer and was ended" in outlive("events").stdout
    assert outlive("verify").returncode == 0


def test_an_end_that_nobody_recorded_yet(outlive: CommandLine) -> None:
    """An agent that ended without a coordinator is shown as gone; the next command that acts records how it ended."""
    outlive.run("--name", "x", "--", "sh", "-c", "sleep 1; exit 6")
    until(lambda: not outlive.json("status", "x")["agents"][0]["is_alive"])
    assert outlive("status", "x").returncode == 3
    assert outlive("signal", "x", "-s", "TERM").returncode == 3
    found = outlive.json("status", "x")["agents"][0]
    assert (found["state"], found["exit"]["code"]) == ("FAILED", 6)
    assert outlive("wait", "x").returncode == 6


def test_what_has_died_was_shown_as_running_and_healthy(outlive: CommandLine) -> None:
    """A process that nobody has reaped, and one that is gone with its shim: told in the note, and healthy no more."""
    directory = (
        outlive.home / outlive.json("status", outlive.run("--", "sleep", "600"))["agents"][0]["directory"]
    )
    recorded = json.loads((directory / "identity.json").read_text())["body"]
    pid, shim = recorded["pid"], recorded["shim_pid"]
    os.kill(shim, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    _is_told_as_over(outlive)
    os.kill(shim, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    _is_told_as_over(outlive)


def _is_told_as_over(outlive: CommandLine) -> None:
    (shown,) = outlive.json("ps")["agents"]
    assert (shown["state"], shown["is_alive"], shown["health"]) == ("RUNNING", False, "unhealthy")
    assert shown["runtime_seconds"] is None
    assert outlive("ps").stdout.rstrip("\n").endswith("not running any more; `outlive recover` records it")

"""Give a canary the number of a process that outlive believes in, and see that it is left alone.

`python -m tests.faults.pid_reuse --count N --seed S [--whose W] [--act A] [--disabled F,…]`, in a pid namespace of its
own (`tests.faults.namespace`). Each time an agent is started and a process of its attempt ends and is reaped; the
canary gets its number, in the same clock tick where that was fast enough; then somebody is told to end the agent, to
signal it, or to attach to it again. Prints JSON: {"reuses", "same_tick", "seed", "wrong": [what went wrong, …]}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from manager.process import procfs
from manager.process.attempt_dir import read_as
from tests.faults.agent import WATCHED, Ledger, sit
from tests.faults.driven import Driven
from tests.faults.namespace import next_pid
from tests.faults.run import Run

WHOSE = ("main", "first_of_a_tree", "shim")
ACTS = ("stop", "kill", "signal", "reattach", "restart")
TRIES = 3  # for each reuse: somebody else may be given the number first
LOOKED_SECONDS = 0.25  # for a signal to arrive where nothing tells that none will
# A number is free once no session or group has it: what the first process of a tree leaves must be in one of its own.
SPECS: dict[str, dict[str, Any]] = {
    "main": {"command": ["/bin/sleep", "1000"]},
    "first_of_a_tree": {"command": ["/bin/sh", "-c", "setsid sleep 1000 & exit 5"], "until": "tree"},
    "shim": {"command": ["/bin/sleep", "1000"]},
}


class Reuse(NamedTuple):
    """One of them: whose number, what is done then, and whether that comes after the start is on record."""

    whose: str
    act: str
    is_recorded: bool


class Canary:
    """A process that has a number of our choice, and tells the ledger of every signal."""

    def __init__(self, path: Path, pid: int) -> None:
        reader, self._writer = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        next_pid(pid)
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(reader, 0)
            os.closerange(3, 256)
            ledger = Ledger(str(path), "canary", "0")
            ledger.start()
            sit(ledger)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.close(reader)
        self._status: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether nobody has ended it."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is None

    def release(self) -> None:
        """Let it go."""
        os.close(self._writer)
        if self._status is None:
            os.waitpid(self.pid, 0)


class Stage:
    """A home in which it is played, with one coordinator at a time."""

    def __init__(self, run: Run, disabled: str) -> None:
        self.run = run
        self._variables = {"OUTLIVE_DISABLE": disabled}
        self._coordinator: Driven | None = None
        self._log: sqlite3.Connection | None = None
        self.reuses = self.same_tick = 0
        self.wrong: list[str] = []

    @property
    def coordinator(self) -> Driven:
        """The one that holds the home; a new one where there is none."""
        if self._coordinator is None:
            self._coordinator = self.run.coordinator(variables=self._variables)
        return self._coordinator

    def lose_coordinator(self) -> None:
        """SIGKILL."""
        if self._coordinator is not None:
            self._coordinator.kill()
            self._coordinator = None

    def close(self) -> None:
        """Let the last one go in good order."""
        if self._log is not None:
            self._log.close()
        if self._coordinator is not None:
            self._coordinator.close()

    def play(self, reuse: Reuse) -> None:
        """One reuse, if the number was to be had."""
        spec = {**SPECS[reuse.whose], "env": self.run.environment(), "cwd": "/"}
        spec |= {"start_window_seconds": 0.02, "stop_grace_seconds": (0.2, 0.2, 5.0)}
        [agent] = self.coordinator.spawn(spec, wait=False)
        identity = identity_of(self.run.home, agent)
        is_quick = (
            reuse.whose == "first_of_a_tree"
        )  # it is over, and its number taken, before anybody has looked at it
        if reuse.is_recorded and not is_quick:
            self._until_recorded(agent)
        pid, ticks = self._free(reuse.whose, identity)
        canary = Canary(self.run.canaries, pid)
        try:
            found = procfs.start_ticks(canary.pid)
            if canary.pid != pid:
                return
            self.reuses += 1
            self.same_tick += found == ticks
            if reuse.is_recorded and is_quick:
                self._until_recorded(agent)
            self._act(reuse.act, agent)
            self._look(reuse, canary)
        finally:
            canary.release()
            self._tidy(reuse, agent, identity)

    def _until_recorded(self, agent: str) -> None:
        if self._log is None:
            self._log = sqlite3.connect(f"file:{self.run.home}/events.db?mode=ro", uri=True)
        started = "SELECT 1 FROM events WHERE stream = ? AND type = 'STARTED'"
        deadline = time.monotonic() + 30
        while self._log.execute(started, (f"agent/{agent}",)).fetchone() is None:
            assert time.monotonic() < deadline, f"{agent} is not started"

    def _free(self, whose: str, identity: dict[str, Any]) -> tuple[int, int]:
        """Have the process end and be reaped; its number and start."""
        main, shim = identity["pid"], identity["shim_pid"]
        if whose == "first_of_a_tree":
            until_reaped(main)
            return main, identity["start_ticks"]
        os.kill(shim, signal.SIGKILL)
        if whose == "shim":
            until_reaped(shim)
            return shim, identity["shim_start_ticks"]
        os.kill(main, signal.SIGKILL)
        until_reaped(main)
        return main, identity["start_ticks"]

    def _act(self, act: str, agent: str) -> None:
        if act in ("reattach", "restart"):
            self.lose_coordinator()
        if act == "restart":
            self.coordinator.ask("stop", agents=[agent], wait=False)
        elif act == "signal":
            self.coordinator.ask("signal", agents=[agent], signal=int(signal.SIGUSR1))
        elif act == "reattach":
            assert self.coordinator.pid
        else:
            self.coordinator.ask(act, agents=[agent], wait=False)

    def _look(self, reuse: Reuse, canary: Canary) -> None:
        deadline = time.monotonic() + LOOKED_SECONDS
        while canary.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
        told = [
            line for line in self.run.canaries.read_text().splitlines()
            if line.startswith("SIG ") and line.split()[3] == str(canary.pid)
        ]  # fmt: skip
        if told or not canary.is_alive:
            self.wrong.append(
                f"{reuse.act} with the number of {reuse.whose}: {told or 'the canary was ended'}"
            )

    def _tidy(self, reuse: Reuse, agent: str, identity: dict[str, Any]) -> None:
        """End what is left of the agent, and hold the log to what happened.

        Without pidfds it cannot be proved once its shim is lost, and is left alone until it has ended.
        """
        self.coordinator.ask("kill", agents=[agent])
        stat = procfs.read_stat(identity["pid"])
        alive = stat is not None and stat.start_ticks == identity["start_ticks"] and not stat.is_ended
        [status] = json.loads(self.run.outlive("status", agent, "--json").stdout)["agents"]
        code = (status["exit"] or {}).get("code")
        truth = 5 if reuse.whose == "first_of_a_tree" else None
        if status["is_final"] == alive or code not in (None, truth):
            self.wrong.append(f"{reuse.act} with the number of {reuse.whose}: {status['state']}, code {code}")
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity["pid"], signal.SIGKILL)


def identity_of(home: Path, agent: str) -> dict[str, Any]:
    """What a shim has written of its attempt, as soon as it is there."""
    path = str(home / "agents" / agent / "1")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            found = read_as("identity", path)
            if isinstance(found, dict):
                return found
    raise AssertionError(f"no identity in {path}")


def until_reaped(pid: int) -> None:
    """Look as fast as can be: a clock tick is 10 ms."""
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, f"{pid} is still there"


def reuses(whose: str | None, act: str | None, chance: random.Random) -> Iterator[Reuse]:
    """Without end, drawn where nothing was asked for."""
    while True:
        yield Reuse(whose or chance.choice(WHOSE), act or chance.choice(ACTS), chance.random() < 0.8)


def main() -> int:
    """Play as many as were asked for; 1 if anything went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--whose", choices=WHOSE)
    parser.add_argument("--act", choices=ACTS)
    parser.add_argument("--disabled", default="")
    parser.add_argument(
        "--place", type=Path, default=Path("/dev/shm") if os.path.isdir("/dev/shm") else None
    )  # no disk to wait for
    asked = parser.parse_args()
    with Run.create(asked.place, seed=asked.seed) as run:
        stage = Stage(run, asked.disabled)
        for reuse in islice(reuses(asked.whose, asked.act, run.chance), TRIES * asked.count):
            stage.play(reuse)
            if stage.reuses >= asked.count or len(stage.wrong) > 20:
                break
        stage.close()
        verified = run.outlive("verify")
        if verified.returncode:
            stage.wrong.append(f"verify: {verified.stdout}{verified.stderr}")
    print(
        json.dumps(
            {"reuses": stage.reuses, "same_tick": stage.same_tick, "seed": asked.seed, "wrong": stage.wrong}
        )
    )
    return int(bool(stage.wrong))


if __name__ == "__main__":
    sys.exit(main())

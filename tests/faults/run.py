"""One run of a fault test: a home, agents that tell the truth, a list of the faults done, and the oracle's judgement.

    RUN/home            the home under test
    RUN/ledger          what the agents say of themselves (tests/faults/agent.py tells the form)
    RUN/canaries        the same of canaries: processes that must never be signalled
    RUN/faults.jsonl    {at: boottime ns, kind, target, pid, agent, attempt, seed, …}, each written before it is done
    RUN/asks.jsonl      {id, at, ask, by, names, agents, signal, grace}, each written before it is asked
    RUN/clients.jsonl   {ask, id, order, answer: ack | error | none, agent, position, error}; `order`: id of the ask
    RUN/snapshots/N.db  consistent copies of the log as it was at position N
    RUN/views.jsonl     {position, agents}: what `outlive ps --all --json` printed while nothing changed
    RUN/trace/*         output of `strace -f -ttt -yy` over our processes
    RUN/secrets         one a line: what must not be found in the home
    RUN/clock           {boottime_ns, realtime_ns}, taken together
    RUN/seed            from which everything random was drawn
    RUN/others          ids of homes whose events are in the same log, and which this run is not about

    with Run.create(tmp_path, seed=7) as run:
        coordinator = run.coordinator()
        [agent] = coordinator.spawn(run.agent("--exit-after", "1", "--code", "7"))
        run.kill("coordinator", coordinator.pid)
        run.judge()

`judge` settles the home and asks the oracle. The directory is removed when the block ends well, kept and named else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manager import Manager
from tests.faults import asking, stored
from tests.faults.driven import Driven
from tests.faults.noting import Notes, append, now
from tests.faults.oracle.check import examine
from tests.faults.oracle.log import COLUMNS
from tests.faults.oracle.report import Report
from tests.support import story
from tests.support.preloaded import ROOT, preloaded
from tests.support.processes import eventually
from tests.support.promises import clean_up

AGENT = Path(__file__).with_name("agent.py")
SETTLE_SECONDS = 60.0


class Run(Notes):
    """The directory of one run, and what is done in it. `chance` is drawn from the seed."""

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, seed)
        self.chance = random.Random(seed)
        self.home = path / "home"
        self.ledger = path / "ledger"
        self.canaries = path / "canaries"
        self.secret = f"secret-{seed:x}-{path.name}"
        self.database: str | None = None

    @classmethod
    @contextmanager
    def create(
        cls, parent: Path | None = None, *, seed: int | None = None, database: str | None = None
    ) -> Iterator[Run]:
        """A new run below `parent` (default: the temporary directory); nothing of it is left when it ends well.

        `database`: the URL of an empty PostgreSQL database for the log.
        """
        chosen = random.randrange(1 << 32) if seed is None else seed
        run = cls(Path(tempfile.mkdtemp(prefix="outlive-run-", dir=parent)), chosen)
        run.database = database
        run._begin()
        try:
            yield run
        except BaseException as error:
            error.add_note(f"seed {chosen}; the run is kept; judge it again: {run.command}")
            clean_up(run.home)
            raise
        clean_up(run.home)
        # Shims that were left with nothing to watch write of it for a moment yet.
        eventually(lambda: _is_removed(run.path), "the run's directory is removed")

    @property
    def command(self) -> str:
        """What a person types to have the run judged again."""
        return f"{sys.executable} -m tests.faults.oracle {self.path}"

    # --- agents -------------------------------------------------------------------------------------------------

    def program(self, *behaviour: str) -> list[str]:
        """The command line of a ledger agent."""
        return [sys.executable, "-I", "-S", str(AGENT), str(self.ledger), *behaviour]

    def environment(self) -> dict[str, str]:
        """Variables that every agent of the run carries: the home's mark, and a secret."""
        return {story.MARK: str(self.home), "PLANTED": self.secret}

    def agent(self, *behaviour: str, **spec: Any) -> dict[str, Any]:
        """A spec, in the form of AgentSpec's fields, of a ledger agent; `spec` adds to it."""
        return {
            "command": self.program(*behaviour),
            "env": self.environment(),
            "cwd": "/",
            "stop_grace_seconds": (0.3, 0.3, 20.0),
            **spec,
        }

    # --- coordinators and clients -------------------------------------------------------------------------------

    def coordinator(
        self, *options: str, variables: Mapping[str, str] | None = None, under: Sequence[str] = ()
    ) -> Driven:
        """A coordinator in a process of its own that holds the home by now.

        It is forked from a process that has imported all it needs; or, with `under`, started anew by that command
        (strace and its like), which is given the rest of the command line.
        """
        coordinator = Driven(self, (str(self.home), *options), self.variables(variables), under)
        opened = coordinator.answer(0)
        assert opened["answer"] == "ack", opened["error"]
        return coordinator

    def outlive(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One `outlive` command, finished."""
        self.asked_by_command(*arguments)
        return preloaded.run(
            "manager.cli.main",
            ["--home", str(self.home), *arguments],
            env=self.variables(variables),
            timeout=SETTLE_SECONDS,
        )

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of our own processes: the modules under test are this checkout's."""
        where = {} if self.database is None else {"OUTLIVE_DATABASE_URL": self.database}
        return {**os.environ, "PYTHONPATH": str(ROOT), **where, **(more or {})}

    @contextmanager
    def manager(self, actor: str | None = None) -> Iterator[Any]:
        """A `Manager` in this process; what it is asked for is noted."""
        with Manager.open(self.home, self.database, actor=actor) as manager:
            yield asking.Asking(self, manager, manager._actor)

    def canary(self) -> subprocess.Popen[bytes]:
        """A process that tells of every signal; close its standard input to end it."""
        command = [sys.executable, "-I", "-S", str(AGENT), str(self.canaries), "--canary"]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    # --- looking ------------------------------------------------------------------------------------------------

    def has_begun(self, agent: str) -> bool:
        """Whether an agent has told of its START, and blocks signals from then on; or will not, for it never ran."""
        directory = self.home / "agents" / agent / "1"
        is_there = (directory / "exec.json").exists() and not (directory / "exit.json").exists()
        return not is_there or any(words[0] == agent for words in self.told_by_agents())

    def told_by_agents(self, kind: str = "START") -> list[list[str]]:
        """The words of the ledger's lines of one kind, the kind left out."""
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return [line.split()[1:] for line in text.splitlines() if line.startswith(kind + " ")]

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type, as the log has their fields; none where every life died before it made the log."""
        if not self.has_log():
            return []
        found = self.rows("SELECT type, data FROM events ORDER BY position")
        return [json.loads(text) for told, text in found if told == kind]

    def has_log(self) -> bool:
        """Whether its tables have been made."""
        return stored.is_made(self.home, self.database)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a stranger reads in the log's database."""
        return stored.ask(self.home, self.database, query)

    def snapshot(self) -> Path:
        """Keep a consistent copy of the log as it is now."""
        place = self.path / "snapshots"
        place.mkdir(exist_ok=True)
        if self.database is not None:
            return stored.copy_events(
                self.rows(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position"), place
            )
        return stored.copy_database(self.home / "events.db", place)

    def view(self) -> None:
        """Note what `outlive ps` says, if the log stood still meanwhile."""
        before = self._position()
        printed = self.outlive("ps", "--all", "--json")
        if printed.returncode == 0 and self._position() == before:
            append(self.path / "views.jsonl", {"position": before, "agents": json.loads(printed.stdout)})

    def settle(self) -> None:
        """Open the home until every agent has ended, or runs with nobody wanting it to end."""
        with self.manager("settling") as manager:

            def is_settled() -> bool:
                living = manager.statuses()
                return all(status.state == "RUNNING" and status.is_alive for status in living)

            eventually(is_settled, "every agent ends or runs", seconds=SETTLE_SECONDS)

    def judge(self, *, kills_all: bool = True) -> Report:
        """Settle, ask the oracle, then (`kills_all`) kill what runs and ask again: nothing may be left. The report.

        Raises AssertionError with the report when a promise was broken.
        """
        self.settle()
        self.view()
        report = self.examine()
        if kills_all:
            self.snapshot()
            with self.manager("the end") as manager:
                manager.kill_all()
            report = self.examine()
        return report

    def examine(self) -> Report:
        """The oracle's report on the run as it is now. Raises AssertionError unless it is clean."""
        report = examine(self.path)
        assert not report.violations, f"{report.as_text()}\nseed {self.seed}; judge it again: {self.command}"
        return report

    # --- details ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        (self.path / "seed").write_text(f"{self.seed}\n")
        if self.database is not None:
            (self.path / "database").write_text(self.database)
        (self.path / "secrets").write_text(f"{self.secret}\n")
        clock = {
            "boottime_ns": now(),
            "realtime_ns": time.time_ns(),
        }
        (self.path / "clock").write_text(json.dumps(clock))
        self.ledger.touch()
        (self.path / "asks.jsonl").touch()

    def _position(self) -> int:
        return int(self.rows("SELECT coalesce(max(position), 0) FROM events")[0][0])


def _is_removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()

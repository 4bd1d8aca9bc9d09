"""The harness's end of a driven coordinator: orders go down its standard input, answers come up, all are noted."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.faults import asking
from tests.support.preloaded import ROOT, Child, preloaded
from tests.support.processes import eventually

PROGRAM = "tests.faults.coordinator"
ACTOR = "fault harness"

if TYPE_CHECKING:
    from tests.faults.run import Run


class CoordinatorGone(Exception):
    """It ended before it answered; what it was asked for may or may not have been done."""


class Driven:
    """A coordinator in a process of its own; used as a context it is closed in good order at the end."""

    def __init__(
        self, run: Run, arguments: Sequence[str], variables: Mapping[str, str], under: Sequence[str]
    ) -> None:
        self._run = run
        self._numbers = itertools.count(1)
        self._asked: dict[
            int, tuple[str, int | None]
        ] = {}  # by the order's number: the ask, as which it is noted
        self.process: Child | subprocess.Popen[bytes]
        with (run.path / "coordinators.log").open("ab") as log:
            if not under:
                self.process = preloaded.start(PROGRAM, arguments, env=variables, stderr=log.fileno())
                return
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", PROGRAM, *arguments],
                env=variables,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process; with `under`, that of the command which runs it."""
        return self.process.pid

    def send(self, ask: str, **order: Any) -> int:
        """Give an order without waiting for its answer; its number. Raises `CoordinatorGone`."""
        number = next(self._numbers)
        noted = self._run.asked(by=ACTOR, **asking.of_order(ask, order) or {})
        self._asked[number] = ask, noted
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"id": number, "ask": ask, **order}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._gone() from error
        return number

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to an order; orders are answered in the order in which they were given.

        Raises `CoordinatorGone`.
        """
        assert self.process.stdout is not None
        line = b"" if self.process.stdout.closed else self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._gone()
        answer: dict[str, Any] = json.loads(line)
        assert answer["id"] == number, answer
        ask, noted = self._asked.pop(number, (None, None))
        if ask is not None:
            told = {name: answer[name] for name in ("answer", "position", "error")}
            for agent in answer["agents"] or [None]:
                self._run.told(ask, agent=agent, order=noted, **told)
        return answer

    def ask(self, ask: str, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer. Raises `CoordinatorGone`."""
        return self.answer(self.send(ask, **order))

    def spawn(self, *specs: Mapping[str, Any], names: Sequence[str] = (), wait: bool = True) -> list[str]:
        """Start agents; their ids. Those that tell the ledger have done so by then, unless nobody waits for them."""
        chosen = [*names, *[None] * (len(specs) - len(names))]
        items = [{"name": name, "spec": spec} for name, spec in zip(chosen, specs, strict=True)]
        answer = self.ask("spawn", items=items, wait=wait)
        assert answer["answer"] == "ack", answer["error"]
        agents: list[str] = answer["agents"]
        for agent, spec in zip(agents, specs, strict=True):
            if wait and str(self._run.ledger) in spec["command"]:
                eventually(partial(self._run.has_begun, agent), f"{agent} has begun")
        return agents

    def kill(self) -> None:
        """SIGKILL, noted before; its process is reaped."""
        self._run.kill("coordinator", self.pid, signal.SIGKILL)
        self.mourn()

    def mourn(self) -> None:
        """Collect what it had answered before somebody killed it, and reap it."""
        with contextlib.suppress(CoordinatorGone):
            while self._asked:
                self.answer(next(iter(self._asked)))
        self._end()

    def close(self) -> None:
        """Let it close the home in good order, and see that it did."""
        code = self.leave()
        assert code == 0, f"the coordinator ended with {code}: see {self._run.path / 'coordinators.log'}"

    def leave(self) -> int:
        """Let it close the home; its return code, which tells whether it got to the end of that."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        return self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None and error is None:
            self.close()
        elif self.process.returncode is None:
            self.process.kill()
            self._end()

    def _gone(self) -> CoordinatorGone:
        code = self._end()
        for ask, noted in self._asked.values():
            self._run.told(ask, "none", order=noted)
        self._asked.clear()
        return CoordinatorGone(f"the coordinator {self.pid} ended with {code}")

    def _end(self) -> int:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        return self.process.wait(timeout=60)

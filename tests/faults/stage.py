"""A run in which chosen threads of ours get faults at chosen system calls: gates, strace, deadlines.

A *role* is one process or thread of ours: `coordinator` (the thread that owns all state), `launcher`, `shim`, `child`
(between fork and exec), `opening` (the main thread while it takes the home), `obeying` (while it carries out an order).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.faults.driven import CoordinatorGone, Driven
from tests.faults.run import Run
from tests.faults.syscalls import Injection
from tests.faults.tracing import Tracer, describe
from tests.support.processes import eventually

ANSWER_SECONDS = (
    45.0  # by then an order is answered, whatever was injected; the busiest machine needs a third
)
LOOP = 1  # a coordinator's threads in the order in which they are made: main, loop, status files, control

# asyncio's own reading of its wake-ups may say so; it reads them again.
_UNCAUGHT = re.compile(
    r"Exception in callback (?!BaseSelectorEventLoop\._read_from_self)|exception was never"
)


class Waiting(NamedTuple):
    """A thread of ours that has stopped at a gate."""

    path: Path
    pid: int
    tid: int
    agent: str | None


class Stage:
    """What a scenario plays on. `hits` are the faults that were injected."""

    def __init__(self, run: Run, hits: list[str] | None = None) -> None:
        self.run = run
        self.hits = [] if hits is None else hits
        self.counts: Counter[str] = Counter()
        self._gates = run.path / "gates"
        self._gates.mkdir()
        self._traces = 0
        self._driven: list[Driven] = []

    # --- coordinators -------------------------------------------------------------------------------------------

    def coordinator(self, **variables: str) -> Driven:
        """One that holds the home, and comes to the gates. Its launchers do not rehearse."""
        driven = self.opening(**variables)
        acknowledged(self.answer(driven, 0))
        return driven

    def opening(self, **variables: str) -> Driven:
        """One that has just begun to open the home."""
        given = {"OUTLIVE_DISABLE": "rehearsal", **variables}
        arguments = (str(self.run.home), f"--gates={self._gates}")
        driven = Driven(self.run, arguments, self.run.variables(given), ())
        self._driven.append(driven)
        return driven

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nobody waits at a gate any more, no coordinator of ours is left."""
        for path in self._gates.iterdir():
            path.unlink()
        for driven in self._driven:
            driven.process.kill()
            driven.process.wait()

    def ask(self, driven: Driven, ask: str, **order: Any) -> dict[str, Any] | None:
        """The answer to an order in time, None from a coordinator that ended. AssertionError: it hangs."""
        try:
            number = driven.send(ask, **order)
        except CoordinatorGone:
            return None
        return self.answer(driven, number)

    def answer(self, driven: Driven, number: int) -> dict[str, Any] | None:
        """The same for an order that was given."""
        assert driven.process.stdout is not None
        if not select.select([driven.process.stdout], [], [], ANSWER_SECONDS)[0]:
            raise AssertionError(f"no answer in {ANSWER_SECONDS} s: it hangs\n{describe([driven.pid])}")
        try:
            return driven.answer(number)
        except CoordinatorGone:
            return None

    def spawn(self, driven: Driven, *behaviours: Sequence[str], **spec: Any) -> list[str]:
        """Start ledger agents that must start; their ids."""
        return driven.spawn(*(self.run.agent(*behaviour, **spec) for behaviour in behaviours))

    def item(self, *behaviour: str) -> dict[str, Any]:
        """An agent to start, as an order names it."""
        return {"name": None, "spec": self.run.agent(*behaviour)}

    def start_another(self, driven: Driven) -> None:
        """See that it can still start an agent."""
        acknowledged(self.ask(driven, "spawn", items=[self.item("--exit-after", "0")]))

    def leave(self, driven: Driven, injection: Injection | None) -> None:
        """Close a coordinator, if it is there. One that has met an error must be able to start an agent first."""
        if f"coordinator {driven.pid}: {injection}" in self.hits and injection and injection.error is None:
            driven.mourn()  # killed, it may have been at its last call, after its answer
        if driven.process.returncode is not None:
            assert injection is None or injection.error is None, f"it ended by itself: {self.log()}"
            return
        if injection is not None and injection.error is not None:
            self.start_another(driven)
        driven.close()
        assert not _UNCAUGHT.search(self.log()), f"an error was lost in a callback: {self.log()}"

    def log(self) -> str:
        """The end of what coordinators have written to standard error."""
        return (self.run.path / "coordinators.log").read_text(errors="replace")[-4000:]

    # --- gates --------------------------------------------------------------------------------------------------

    def arm(self, role: str) -> None:
        """From now on whoever comes to this role's gate stops there."""
        (self._gates / f"armed-{role}").touch()

    def disarm(self, role: str) -> None:
        """No longer."""
        (self._gates / f"armed-{role}").unlink()

    def waiting(self, role: str, count: int = 1) -> list[Waiting]:
        """Those who have stopped at a gate, once there are so many."""

        def look() -> list[Waiting]:
            found = self._stopped(role)
            return [self._waiting(path) for path in found] if len(found) >= count else []

        return sorted(eventually(look, f"{count} at the gate of {role}"), key=lambda waiting: waiting.pid)

    def _stopped(self, role: str) -> list[Path]:
        return [path for path in self._gates.iterdir() if path.name.startswith(f"waiting-{role}-")]

    @staticmethod
    def _waiting(path: Path) -> Waiting:
        *_, pid, tid, agent = path.name.split("-")
        return Waiting(path, int(pid), int(tid), agent or None)

    def reach_end(self, driven: Driven, role: str) -> None:
        """Return once a gated role has come to its end, or its process to its own. AssertionError: it hangs."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while driven.process.poll() is None and not self._stopped(f"{role}.end"):
            if time.monotonic() > deadline:
                raise AssertionError(f"{role} does not come to its end\n{describe([driven.pid])}")
            time.sleep(0.002)

    def release(self, role: str) -> None:
        """Let all go on who have stopped at a gate."""
        for path in self._stopped(role):
            path.unlink()

    def launcher(self) -> int:
        """The pid of the launcher that was started last."""
        return int((self._gates / "pid-launcher").read_text())

    # --- faults -------------------------------------------------------------------------------------------------

    @contextmanager
    def faulty(
        self,
        threads: Sequence[int],
        injection: Injection | None,
        role: str,
        pid: int,
        *,
        agent: str | None = None,
        follow: bool = False,
    ) -> Iterator[None]:
        """Inject into these threads what happens in the block; None: count their calls. A hit is noted as a fault."""
        self._traces += 1
        place = self.run.path / "injected"
        place.mkdir(exist_ok=True)
        since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        with Tracer(threads, place / str(self._traces), injection, follow=follow) as tracer:
            yield
        if injection is None:
            self.counts += tracer.counts()
        elif tracer.was_hit:
            self.hits.append(f"{role} {pid}: {injection}")
            kind = "kill" if injection.error is None else "error"
            # To the log it is the same whether the disk refuses it or the call that asks for the disk.
            target = "store" if role == "coordinator" and injection.is_of_disk else role
            self.run.fault(
                kind, target, pid=pid, agent=agent, at=since, call=str(injection), error=injection.error
            )

    @contextmanager
    def faulty_at_gate(
        self, role: str, injections: Sequence[Injection | None], target: str
    ) -> Iterator[None]:
        """Let as many as there are injections stop at a gate and go on with a fault each; the block waits for them."""
        stopped = self.waiting(role, len(injections))
        self.disarm(role)
        with contextlib.ExitStack() as stack:
            for waiting, injection in zip(stopped, injections, strict=True):
                faulty = self.faulty([waiting.tid], injection, target, waiting.pid, agent=waiting.agent)
                stack.enter_context(faulty)
            for waiting in stopped:
                waiting.path.unlink()
            yield

    @contextmanager
    def faulty_shims(self, agents: Sequence[str], injections: Sequence[Injection | None]) -> Iterator[None]:
        """A fault for the shim of each of these living agents."""
        with contextlib.ExitStack() as stack:
            for agent, injection in zip(agents, injections, strict=True):
                shim = self.identity(agent)["shim_pid"]
                stack.enter_context(self.faulty([shim], injection, "shim", shim, agent=agent))
            yield

    # --- agents -------------------------------------------------------------------------------------------------

    def attempt(self, agent: str) -> Path:
        """The directory of its first attempt."""
        return self.run.home / "agents" / agent / "1"

    def identity(self, agent: str) -> dict[str, Any]:
        """What its shim recorded of the two."""
        body: dict[str, Any] = json.loads((self.attempt(agent) / "identity.json").read_bytes())["body"]
        return body

    def end(self, agent: str) -> None:
        """Send it a SIGTERM that nobody recorded; a ledger agent then ends by itself."""
        self.run.kill("agent", self.identity(agent)["pid"], signal.SIGTERM, agent=agent)


def acknowledged(answer: dict[str, Any] | None) -> dict[str, Any]:
    """The answer of a coordinator that has done what it was asked for. AssertionError: it ended, or refused."""
    assert answer is not None, "the coordinator ended"
    assert answer["answer"] == "ack", f"the coordinator refused: {answer['error']}"
    return answer


def threads_of(pid: int) -> list[int]:
    """The threads of a process, oldest first."""
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")))

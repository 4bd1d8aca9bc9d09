"""strace on one thread of ours: counting its system calls, or injecting a fault at one of them."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.syscalls import ERRORS, KILLED_AT, Injection, ReadOnly

_CALL = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(")
_COUNTED = ",".join(f"?{call}" for call in sorted({*KILLED_AT, *ERRORS}))


class Tracer:
    """strace attached to threads until `detach`, or until they end; they are left running. One context each.

    Without `injection` it counts. It stays behind when the process becomes another program (`execve`).
    """

    def __init__(
        self,
        threads: Sequence[int],
        output: Path,
        injection: Injection | ReadOnly | None = None,
        *,
        follow: bool = False,
    ) -> None:
        self.output = output
        options = ["-e", f"trace={_COUNTED}"] if injection is None else injection.options
        attached = [option for thread in threads for option in ("-p", str(thread))]
        self._strace = subprocess.Popen(
            ["strace", *(["-f"] if follow else []), "-b", "execve", "-o", output, *options, *attached],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._strace.stderr is not None
        for _ in threads:
            line = self._strace.stderr.readline()
            assert "attached" in line, f"cannot attach strace to {threads}: {line}"

    def detach(self) -> None:
        """Let the threads go on alone. A second call does nothing."""
        if self._strace.returncode is None:
            self._strace.terminate()
            self._strace.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def counts(self) -> Counter[str]:
        """How often each call was begun."""
        found = (_CALL.match(line) for line in self.output.read_text(errors="replace").splitlines())
        return Counter(match[1] for match in found if match)

    @property
    def was_hit(self) -> bool:
        """Whether the fault was injected."""
        text = self.output.read_text(errors="replace")
        return "(INJECTED)" in text or "killed by SIGKILL" in text


def describe(pids: Iterable[int]) -> str:
    """Where every thread of these processes is in the kernel, for a report of a hang."""
    lines = []
    for pid in pids:
        for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
            with contextlib.suppress(OSError):
                name, state = (task / "comm").read_text().strip(), (task / "wchan").read_text()
                call = (task / "syscall").read_text().split()[:1]
                stack = (task / "stack").read_text().replace("\n", " ")
                lines.append(f"{pid}/{task.name} {name}: in {state or '-'} call {call} {stack}")
    return "\n".join(lines)

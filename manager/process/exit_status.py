"""How a process ended, as the exit record tells it: seen, never guessed."""

import os
import time
from typing import Any, NamedTuple

from manager.process.attempt_dir import canonical, encode_named
from manager.process.syscalls import Usage


class ExitStatus(NamedTuple):
    """`kind` is "code", "signal", "failed_start" (the program never ran) or "unknown" (with the reason)."""

    kind: str
    code: int | None = None
    signal: int | None = None
    core: bool = False
    errno: int | None = None
    phase: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, si_code: int, si_status: int) -> "ExitStatus":
        """What waitid(2) saw: si_status is the exit code, or the signal that ended the process."""
        if si_code == os.CLD_EXITED:
            return cls("code", code=si_status)
        return cls("signal", signal=si_status, core=si_code == os.CLD_DUMPED)

    @classmethod
    def failed_start(cls, failure: dict[str, Any]) -> "ExitStatus":
        """A start that failed before the program's first instruction: not a code, so that 127 stays the program's."""
        return cls(
            "failed_start", errno=failure["errno"], phase=failure["phase"], message=failure.get("message")
        )

    @classmethod
    def unknown(cls, reason: str) -> "ExitStatus":
        """Nobody saw it."""
        return cls("unknown", message=reason)


def exit_line(
    status: ExitStatus,
    *,
    attempt: bytes,
    record: str,
    until: bytes,
    started_boottime_ns: int,
    orphans: int,
    usage: Usage | None,
    oom_kills: int | None = None,
) -> bytes:
    """The line of an exit record, ended now. `attempt` is its name as JSON.

    `ended_at` is wall-clock microseconds; durations go by boot time.
    """
    content = canonical(
        {
            "record": record,
            **status._asdict(),
            "until": until.decode(),
            "ended_at": time.time_ns() // 1000,
            "started_boottime_ns": started_boottime_ns,
            "ended_boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            "orphans_reaped": orphans,
            "rusage": usage._asdict() if usage is not None else None,
            "oom_kills": oom_kills,
        }
    )
    return encode_named(content, attempt)

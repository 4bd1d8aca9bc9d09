"""Whether an agent that was killed ran out of memory: the kernel's log says so where no cgroup of its own counts it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

from eventstore.state import AgentState, Live
from eventstore.values import ExitedBySignal
from manager.process.kernel_log import KernelLog
from manager.recovery import Observed

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def explain_kill(observed: Observed, believed: AgentState, log: KernelLog) -> Observed:
    """`observed`, with `oom_killed` true if a SIGKILL that was not ours was the kernel's, for want of memory.

    Null stays null where the log does not say: that is not known then.
    """
    record, process = observed.exit, observed.identity
    live = believed.phase if isinstance(believed.phase, Live) else None
    is_ours = live is not None and live.stop is not None and live.stop.is_kill_sent
    if record is None or process is None or is_ours or not observed.is_same_boot:
        return observed
    was_killed = isinstance(record.exit, ExitedBySignal) and record.exit.signal == signal.SIGKILL
    if not was_killed or record.oom_killed is not None:
        return observed
    since = process.start_ticks * 1_000_000_000 // TICKS_A_SECOND
    until = record.ended_boottime_ns or time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    answer = log.has_killed(process.pid, since_ns=since, until_ns=until)
    return replace(observed, exit=replace(record, oom_killed=answer))

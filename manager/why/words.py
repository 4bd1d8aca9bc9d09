"""A post-mortem in words: the cause in one sentence first, for people at three in the morning."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from manager.why.model import PostMortem
from manager.why.parts import (
    Alike,
    Asked,
    EarlierFailure,
    Followed,
    LeftOver,
    NextAttempt,
    Trend,
)
from projections.quantities import counted, duration_text, size_text
from projections.sentences import MOST_LEFT_OVER, exit_text, signal_name

MICROSECONDS = 1_000_000
_FAULT = "a fault of the program itself"
USUALLY = {  # what sends a signal as a rule, where nobody recorded it
    "SIGSEGV": _FAULT,
    "SIGBUS": _FAULT,
    "SIGILL": _FAULT,
    "SIGFPE": _FAULT,
    "SIGTRAP": _FAULT,
    "SIGSYS": "a system call that a filter forbids",
    "SIGABRT": "the program itself, which gave up",
    "SIGPIPE": "the kernel, for writing where nobody reads any more",
    "SIGXCPU": "the kernel, at a limit of CPU time",
    "SIGXFSZ": "the kernel, at a limit of the size of files",
}
STEADY = 0.02  # of its memory in all: less growth than this is none


def title(found: PostMortem) -> str:
    """What a page about it is called."""
    return f"Why {found.name} ended" if found.is_over else f"{found.name} has not ended"


def summary(found: PostMortem) -> str:
    """What happened, in one sentence. Not made harmless: that is the renderer's business."""
    who = f"{found.name} (attempt {found.attempt})"
    verdict = found.verdict
    how = exit_text(verdict.exit) if verdict.exit is not None else "no exit known"
    match verdict.cause:
        case "still running":
            return f"{who} {_going_on(found)}."
        case "completed":
            return f"{who} completed by itself, with {how}."
        case "exit":
            return f"{who} failed: it ended by itself with {how}{_said(found)}."
        case "signal by us":
            return f"{who} was {_ended_by_us(found)}."
        case "oom":
            return f"{who} was killed by the kernel for want of memory ({how})."
        case "signal by someone else":
            usual = USUALLY.get(signal_name(int((verdict.exit or {}).get("signal", 0))))
            guess = f"; as a rule that is {usual}" if usual else ""
            return f"{who} was ended by {how}, of which outlive has no record; who sent it is unknown{guess}."
        case "failed start":
            return f"{who} did not start: {_message(found)}{_said(found)}."
        case "limit":
            return f"{who} was stopped because of a limit: {_message(found)}."
        case "health":
            return f"{who} was stopped because of its health: {_message(found)}."
        case "host lost":
            return f"{who} was lost with its host, which was restarted; how it ended was not seen."
        case "unknown":
            return f"{who} ended, and nobody saw how: {_message(found)}."


def is_wrong(position: int) -> str:
    """What speaks against the log where the row at `position` is not what was written."""
    return f"the event at position {position} is not what was written"


def asked_text(asked: Asked) -> str:
    """`stop asked for by uid:0/cli: because`."""
    what = {
        "start": "started",
        "stop": "stop asked for",
        "kill": "kill asked for",
        "signal": f"{signal_name(asked.signal or 0)} asked for",
        "restart": "next attempt asked for",
        "cancel": "next attempt called off",
    }[asked.what]
    policy = {
        "restart": " (for a restart)",
        "limit": " (because of a limit)",
        "health": " (because of its health)",
        "shutdown": " (with its coordinator)",
    }.get(asked.cause or "", "")
    reason = f": {asked.reason}" if asked.reason else "" if asked.what == "start" else "; no reason was given"
    return f"{what} by {asked.actor}{policy}{reason}"


def trend_text(trend: Trend) -> list[str]:
    """How memory and CPU went, a line each."""
    if trend.count == 1:
        cpu = "" if trend.cpu_last_percent is None else f", CPU {trend.cpu_last_percent:.1f} %"
        return [f"in its only sample: memory {size_text(trend.memory_last_bytes)}{cpu}"]
    span = duration_text((trend.last_at - trend.first_at) / MICROSECONDS)
    lines = []
    if trend.memory_first_bytes is not None and trend.memory_last_bytes is not None:
        first, last = trend.memory_first_bytes, trend.memory_last_bytes
        most = size_text(trend.memory_most_bytes)
        grown = abs(last - first) > STEADY * max(first, 1)
        how = (
            f"{'rose' if last > first else 'fell'} from {size_text(first)} to" if grown else "stayed at about"
        )
        slope = trend.memory_bytes_per_second
        rate = f", {size_text(round(abs(slope)))} a second" if grown and slope is not None else ""
        lines.append(
            f"memory {how} {size_text(last)} in {span}{rate}; {most} at most ({counted(trend.count, 'sample')})"
        )
    if trend.cpu_mean_percent is not None:
        lines.append(f"CPU {trend.cpu_mean_percent:.1f} % on average, {trend.cpu_last_percent:.1f} % at last")
    return lines


def ended_text(found: PostMortem, when: Callable[[int], str]) -> str:
    """When it ended; between which instants where nobody saw it. `when` writes an instant."""
    if not found.is_over:
        return "not ended"
    if found.ended_at is not None:
        return f"ended {when(found.ended_at)}"
    exit_: Mapping[str, Any] = found.verdict.exit or {}
    recorded = next(one for one in reversed(found.events) if one.type in ("ZOMBIE_REAPED", "LOST"))
    earliest = exit_.get("not_before_at") or found.started_at or found.requested_at
    latest = exit_.get("not_after_at") or recorded.at
    how = "" if exit_.get("kind") in ("code", "signal") else "unseen, "
    return f"ended {how}not before {when(earliest)}, not after {when(latest)}"


def left_over_text(left: LeftOver) -> str:
    """What was still there after the main process."""
    if left.pids is None:
        return "what it left behind is not known"
    if left.pids:
        text = f"processes {', '.join(map(str, left.pids))} were left over and were killed"
        if len(left.pids) >= MOST_LEFT_OVER:
            text = f"at least {len(left.pids)} {text} (no more are recorded)"
        return text if left.is_tree_complete else f"{text}; whether that was all of its tree is not known"
    return (
        "nothing was left over"
        if left.is_tree_complete
        else "nothing was seen to be left over; not all could be seen"
    )


def followed_text(followed: Followed) -> str:
    """What came after the end, in one line."""
    match followed.what:
        case "restart" if followed.next_attempt is not None:
            return f"attempt {followed.next_attempt.attempt} was started: {fate(followed.next_attempt)}"
        case "restart due":
            data = followed.entries[-1].data
            wait = duration_text(data.get("delay_seconds"))
            return f"attempt {data.get('next_attempt')} is due, {wait} after its end"
        case "gave up":
            given_up = next(entry for entry in followed.entries if entry.type == "RESTART_GIVEN_UP")
            return f"no further attempt: {given_up.data.get('reason')}"
        case "cancelled":
            called_off = next(entry for entry in followed.entries if entry.type == "CANCELLED")
            why = f": {called_off.data['reason']}" if called_off.data.get("reason") else ""
            return f"a further attempt was due, and was called off by {called_off.row.actor}{why}"
    return "nothing: no further attempt was made"


def fate(attempt: NextAttempt) -> str:
    """`still running`, or its state, cause and exit."""
    if attempt.ended_at is None and attempt.exit is None and attempt.cause == "still running":
        return f"it is {attempt.state} as far as is recorded"
    exit_ = f", {exit_text(attempt.exit)}" if attempt.exit is not None else ""
    return f"it ended {attempt.state} ({attempt.cause}{exit_})"


def alike_text(alike: Alike) -> str:
    """Whether others failed so."""
    if not alike.count:
        text = "no other failure is like this one"
    else:
        times = "once" if alike.count == 1 else f"{alike.count} times"
        others = f", {alike.agents} other agents among them" if alike.agents else ", all of this agent"
        text = f"failed alike {times}{others if alike.agents != 1 else ', another agent among them'}"
    return text if alike.is_all else f"{text}; older failures were not looked at"


def earlier_text(earlier: EarlierFailure) -> str:
    """The last attempt that failed, in one line."""
    exit_ = f", {exit_text(earlier.exit)}" if earlier.exit is not None else ""
    message = f": {earlier.message}" if earlier.message else ""
    return f"attempt {earlier.attempt} failed ({earlier.cause}{exit_}){message}"


def _going_on(found: PostMortem) -> str:
    if found.verdict.certainty == "unknown":
        return f"is {found.state} in the log, but its process was not seen alive; how it ended is not recorded yet"
    if found.verdict.certainty == "likely":
        return f"was {found.state}, as far as was recorded by then"
    if found.state == "STOPPING":
        return "is being stopped, and has not ended yet"
    return "is being started" if found.state == "SPAWNING" else "is still running"


def _ended_by_us(found: PostMortem) -> str:
    exit_: Mapping[str, Any] = found.verdict.exit or {}
    orders = [one for one in found.asked if one.what in ("stop", "kill", "signal") and _is_before(one, found)]
    by = f", on the order of {orders[-1].actor}" if orders else ""
    why = f" ({orders[-1].reason})" if orders and orders[-1].reason else ""
    if exit_.get("kind") == "code":
        return f"told to stop{by}{why}, and ended with exit code {exit_['code']}"
    return f"ended by our {signal_name(int(exit_.get('signal', 0)))}{by}{why}"


def _is_before(asked: Asked, found: PostMortem) -> bool:
    position = found.verdict.signal_position
    return position is None or asked.position <= position


def _message(found: PostMortem) -> str:
    verdict = found.verdict
    message = verdict.message or "no reason is recorded"
    if verdict.errno is not None and os.strerror(verdict.errno) not in message:
        message += f" ({os.strerror(verdict.errno)})"
    return message


def _said(found: PostMortem) -> str:
    return f"; it said: {found.error_line.strip()}" if found.error_line else ""

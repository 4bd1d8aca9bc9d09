"""One plain-English sentence for each event of the log, made from its stored JSON.

It reads the JSON and not the typed events, so that listing the log loads no vocabulary and an event of a newer version
still gets a line.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Mapping
from typing import Any

from projections.quantities import counted, duration_text

MOST_LEFT_OVER = 100  # so many pids a shim records of what it swept

Data = Mapping[str, Any]


def sentence(event_type: str, data: Data) -> str:
    """What happened, without time, name and actor. Not made harmless: that is the renderer's business."""
    make = SENTENCES.get(event_type)
    if make is None:
        return "an event that this version of outlive does not know"
    try:
        return make(data)
    except (KeyError, TypeError, ValueError):
        return "an event of another version of outlive"


def exit_text(exit_: Data | None) -> str:
    """`exit code 3`, `signal 9 (SIGKILL)` or `exit unknown: why`."""
    if exit_ is None:
        return "no exit known"
    match exit_["kind"]:
        case "code":
            return f"exit code {exit_['code']}"
        case "signal":
            core = ", core dumped" if exit_.get("core_dumped") else ""
            return f"signal {exit_['signal']} ({signal_name(exit_['signal'])}{core})"
        case _:
            return f"exit unknown: {exit_['reason']}"


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; `SIGRTMIN+2` and the like for the real-time ones."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"


def _because(data: Data) -> str:
    return f": {data['reason']}" if data.get("reason") else ""


def _spawning(data: Data) -> str:
    return f"attempt {data['attempt']} is about to start: {shlex.join(data['spec']['command'])}"


def _started(data: Data) -> str:
    return f"attempt {data['attempt']} started as process {data['process']['pid']}"


def _running(data: Data) -> str:
    return f"running: {data['evidence']}"


def _health(data: Data) -> str:
    return f"health went from {data['previous']} to {data['health']}: {data['evidence']}"


def _stop_requested(data: Data) -> str:
    what = "kill" if data["forced"] else "stop"
    whose = {
        "user": "",
        "restart": " for a restart",
        "limit": " because of a limit",
        "health": " because of its health",
        "shutdown": " with its coordinator",
    }
    return f"{what} requested{whose.get(data['cause'], '')}{_because(data)}"


def _sigterm(data: Data) -> str:
    return "SIGTERM sent to the process" if data["stage"] == 1 else "SIGTERM sent to its whole tree"


def _sigkill(_data: Data) -> str:
    return "SIGKILL sent to its whole tree"


def _signal_sent(data: Data) -> str:
    return f"{signal_name(data['signal'])} sent{_because(data)}"


def _stop_timed_out(data: Data) -> str:
    detail = f": {data['detail']}" if data["detail"] else ""
    return f"the last wait of its stop has passed{detail}"


def _reaped(data: Data) -> str:
    text = f"ended with {exit_text(data['exit'])}"
    if data["oom_killed"]:
        text += ", killed for memory"
    left = data["leftovers"]
    if left:
        more = "at least " if len(left) >= MOST_LEFT_OVER else ""
        text += f"; {more}{counted(len(left), 'process', 'processes')} left over and killed"
    if not data["is_tree_complete"]:
        text += "; whether all of its tree is gone is not known"
    return f"{text}; found by a recovery" if data["is_recovered"] else text


def _completed(_data: Data) -> str:
    return "completed"


def _failed(data: Data) -> str:
    number = data["errno"]
    why = data["message"]
    if number is not None and os.strerror(number) not in why:
        why += f" ({os.strerror(number)})"
    return f"failed: {why}"


def _cancelled(data: Data) -> str:
    return f"stopped as asked{_because(data)}"


def _killed(_data: Data) -> str:
    return "killed: SIGKILL was needed"


def _lost(data: Data) -> str:
    return f"lost: {data['reason']}"


def _restart_scheduled(data: Data) -> str:
    wait = duration_text(data["delay_seconds"])
    return f"attempt {data['next_attempt']} is due in {wait}{_because(data)}"


def _given_up(data: Data) -> str:
    return f"no further attempt after {counted(data['used'], 'restart')}{_because(data)}"


def _reattached(data: Data) -> str:
    away = duration_text(data["unwatched_seconds"])
    through = "its shim" if data["via"] == "shim" else "the process alone"
    return f"re-attached through {through}, unwatched for {away}: {data['evidence']}"


def _coordinator_started(data: Data) -> str:
    text = f"coordinator started: process {data['pid']}, epoch {data['epoch']}, outlive {data['version']}"
    ended = data.get("taken_over_from")
    return text if ended is None else f"{text}; process {ended} held the home, did not answer and was ended"


def _coordinator_stopped(data: Data) -> str:
    return f"coordinator stopped, {counted(data['agents_left'], 'agent')} left running"


def _recovery(data: Data) -> str:
    counts = (
        ("re-attached", data["reattached"]),
        ("ended meanwhile", data["ended"]),
        ("lost", data["lost"]),
        ("never started", data["never_started"]),
        ("stops taken up again", data["resumed_stops"]),
        ("started again, being due", data.get("due_attempts", 0)),
    )
    found = ", ".join(f"{count} {what}" for what, count in counts if count) or "nothing to do"
    return f"recovery in {data['duration_seconds']:.3f} s: {found}"


def _refused(data: Data) -> str:
    who = "several users" if data["uid"] is None else f"process {data['pid']} of uid {data['uid']}"
    what = f" to {data['method']}" if data["method"] else ""
    more = f"; {data['refusals']} since the last such event" if data["refusals"] > 1 else ""
    return f"refused {who}{what}: {data['rule']}{more}"


def _pruned(data: Data) -> str:
    return f"exported to {data['export']} and removed: {counted(data['events'], 'event')} up to {data['position']}"


def _erased(data: Data) -> str:
    output = " and its output" if data["has_output"] else ""
    return (
        f"{counted(len(data['digests']), 'text')} of agent {data['agent_id']}{output} erased{_because(data)}"
    )


SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "SPAWNING": _spawning,
    "STARTED": _started,
    "RUNNING": _running,
    "HEALTH_CHANGED": _health,
    "STOP_REQUESTED": _stop_requested,
    "SIGTERM_SENT": _sigterm,
    "SIGKILL_SENT": _sigkill,
    "SIGNAL_SENT": _signal_sent,
    "STOP_TIMED_OUT": _stop_timed_out,
    "ZOMBIE_REAPED": _reaped,
    "COMPLETED": _completed,
    "FAILED": _failed,
    "CANCELLED": _cancelled,
    "KILLED": _killed,
    "LOST": _lost,
    "RESTART_SCHEDULED": _restart_scheduled,
    "RESTART_GIVEN_UP": _given_up,
    "REATTACHED": _reattached,
    "COORDINATOR_STARTED": _coordinator_started,
    "COORDINATOR_STOPPED": _coordinator_stopped,
    "RECOVERY_COMPLETED": _recovery,
    "PAYLOADS_ERASED": _erased,
    "REQUEST_REFUSED": _refused,
    "LOG_PRUNED": _pruned,
}

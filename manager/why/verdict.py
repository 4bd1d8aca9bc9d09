"""Why an attempt ended: the cause from a closed set, how certain it is, and the evidence. Pure.

The first row that fits decides:

    not judged, no exit recorded                            still running (likely, where nobody can look)
    exit unknown, other boot id when that was found         host lost (likely)
    exit unknown                                            unknown
    FAILED as a failed start, by a limit, for its health    that
    killed by the kernel for want of memory                 oom
    ended by the signal that we had sent                    signal by us
    ended by another signal                                 signal by someone else
    stopped by us, ended with a code after our signal       signal by us (likely)
    COMPLETED                                               completed
    ended with a code                                       exit
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from manager.why.history import History
from manager.why.killed import SIGKILL, oom_evidence, shell_evidence
from manager.why.material import Entry
from manager.why.parts import Cause, Certainty, Evidence, Source, Verdict
from manager.why.ruled import rule_evidence

PROMPT_MICROSECONDS = (
    5_000_000  # an order's signal ends a process within this, or that it did is no more than likely
)
SIGTERM = 15
UNRECORDED = "; only a stop while the log cannot be written goes before its record, which can be lost"
LATE = "was sent by us while the log could not be written; its record was made after the end, by a mark or from memory"
_SOURCES: dict[str, tuple[Source, str]] = {
    "shim record": ("shim record", "its shim, the parent of the process, saw the end and wrote it down"),
    "pidfd": ("kernel", "the kernel told it, by the handle that a coordinator held on the process"),
}


def verdict(history: History, home: Sequence[Entry], *, is_alive: bool | None = None) -> Verdict:
    """The verdict on an attempt. `home`: COORDINATOR_STARTED of its home, for their boot ids."""
    exit_ = history.exit
    if history.outcome is None and exit_ is None:
        return _still_running(history, is_alive)
    outcome = None if history.outcome is None else history.outcome.type
    if outcome == "LOST" or (exit_ is not None and exit_.get("kind") == "unknown"):
        return _nobody_saw(history, home)
    recorded = None if history.outcome is None else history.outcome.data.get("cause")
    if outcome == "FAILED" and recorded in ("failed start", "limit", "health"):
        return _recorded_failure(history, recorded)
    if exit_ is not None and exit_.get("kind") == "signal":
        return _signal(history, int(exit_.get("signal", 0)))
    if exit_ is not None and exit_.get("kind") == "code":
        return _code(history, outcome)
    return _judged(
        history, "unknown", "unknown", [_event(history.outcome, "the log does not say how it ended")]
    )


def _still_running(history: History, is_alive: bool | None) -> Verdict:
    last = history.entries[-1] if history.entries else None
    if is_alive:
        return _judged(
            history, "still running", "certain", [Evidence(source="look", text="its process was seen alive")]
        )
    evidence = [_event(last, "no end of it is recorded")]
    if is_alive is None:
        evidence.append(
            Evidence(source="nobody", text="whether its process was there then, nobody can look any more")
        )
        return _judged(history, "still running", "likely", evidence)
    gone = "its process was not seen alive; if it has ended, the next coordinator records how"
    evidence.append(Evidence(source="look", text=gone))
    return _judged(history, "still running", "unknown", evidence)


def _nobody_saw(history: History, home: Sequence[Entry]) -> Verdict:
    said_by = history.reaped or history.outcome
    reason = (history.exit or {}).get("reason") or (said_by.data.get("reason") if said_by else None)
    evidence = [Evidence(source="nobody", text=f"nobody saw the end: {reason}", positions=_at(said_by))]
    boot, now = history.boot_id, None if said_by is None else _boot_of(said_by, home)
    if boot and now is not None and now.data.get("boot_id") not in (None, boot):
        evidence.append(
            Evidence(
                source="boot id",
                text=f"the host was restarted: it was started in boot {boot}, and looked for in boot "
                f"{now.data['boot_id']}; no process outlives that",
                positions=(*_at(history.first("SPAWNING")), now.position),
            )
        )
        evidence.append(
            Evidence(source="nobody", text="whether something else had ended it before that is not known")
        )
        return _judged(history, "host lost", "likely", evidence)
    return _judged(history, "unknown", "unknown", evidence)


def _recorded_failure(history: History, cause: Literal["failed start", "limit", "health"]) -> Verdict:
    outcome = history.outcome
    evidence = [_event(outcome, "the coordinator recorded it so, with its message")]
    if cause == "failed start":
        if history.reaped is not None:
            evidence.append(_who_saw(history))
            if history.reaped.data.get("oom_killed") or (history.exit or {}).get("signal") == SIGKILL:
                evidence += oom_evidence(history)
        elif outcome is not None and outcome.data.get("errno") is not None:
            evidence.append(_event(outcome, f"the system refused it with errno {outcome.data['errno']}"))
        return _judged(history, cause, "certain", evidence)
    evidence += rule_evidence(history, cause)
    evidence += [
        _event(entry, "our signal was announced") for entry in history.all("SIGTERM_SENT", "SIGKILL_SENT")
    ]
    if history.reaped is not None:
        evidence.append(_who_saw(history))
    return _judged(history, cause, "certain", evidence)


def _signal(history: History, number: int) -> Verdict:
    evidence = [_who_saw(history)]
    announced = history.sent(number)
    sent = next((entry for entry in reversed(announced) if history.is_before_end(entry)), None)
    killed_for_memory = history.reaped is not None and history.reaped.data.get("oom_killed")
    if killed_for_memory:
        return _judged(history, "oom", "certain", [*evidence, *oom_evidence(history)])
    if sent is not None:
        is_late = history.ended_at is not None and sent.row.recorded_at > history.ended_at
        how = LATE if is_late else "was announced by us, and sent after that"
        evidence.append(_event(sent, f"signal {number} {how}"))
        is_prompt = history.stop is not None or _is_prompt(history, sent)
        if not is_prompt:
            evidence.append(
                Evidence(source="nobody", text="it was sent long before the end, which came later")
            )
        certainty: Certainty = "likely"
        if is_prompt and not is_late and history.ended_at is not None:
            certainty = "certain"
        return _judged(history, "signal by us", certainty, evidence, signal_position=sent.position)
    ours = "ours was announced after its end" if announced else "we had announced none of this number"
    evidence.append(
        Evidence(
            source="log",
            text=f"outlive has no event of sending signal {number}: each signal has its event first, and {ours}"
            + (UNRECORDED if number in (SIGTERM, SIGKILL) else ""),
            positions=_at(history.entries[0]),
        )
    )
    evidence.append(
        Evidence(source="nobody", text="who sent it is not recorded by the kernel, so it is unknown")
    )
    certainty = "likely" if number in (SIGTERM, SIGKILL) else "certain"
    if number == SIGKILL:
        evidence += oom_evidence(history)
    return _judged(history, "signal by someone else", certainty, evidence)


def _code(history: History, outcome: str | None) -> Verdict:
    evidence = [_who_saw(history)]
    is_tree = (
        history.spec.get("until") == "tree"
    )  # its first process may be long gone when its tree is stopped
    sent = history.all("SIGTERM_SENT", "SIGKILL_SENT")
    before = [entry for entry in sent if is_tree or history.is_before_end(entry)]
    if before:
        evidence += [_event(entry, "our signal was announced before its end") for entry in before]
        text = (
            "it ended with a code and not by the signal: that it did so because of it fits, and is not proved"
        )
        evidence.append(Evidence(source="nobody", text=text))
        return _judged(history, "signal by us", "likely", evidence, signal_position=before[-1].position)
    if history.stop is not None:
        evidence.append(
            _event(history.stop, "a stop was asked for, but it had ended before a signal was sent")
        )
    if outcome == "COMPLETED":
        evidence.append(_event(history.outcome, "its code is one of its success codes"))
        return _judged(history, "completed", "certain", evidence)
    evidence += [
        _event(entry, f"signal {entry.data.get('signal')} was sent on somebody's order shortly before")
        for entry in history.all("SIGNAL_SENT")[-1:]
        if _is_prompt(history, entry)
    ]
    return _judged(history, "exit", "certain", [*evidence, *shell_evidence(history)])


def _who_saw(history: History) -> Evidence:
    reaped = history.reaped
    source, text = _SOURCES.get(
        "" if reaped is None else str(reaped.data.get("source")),
        ("log", "the log has the exit, not who saw it"),
    )
    if reaped is not None and reaped.data.get("is_recovered"):
        text += "; no coordinator recorded it then, a later one read it"
    return Evidence(source=source, text=text, positions=_at(reaped))


def _is_prompt(history: History, sent: Entry) -> bool:
    return history.ended_at is not None and 0 <= history.ended_at - sent.at <= PROMPT_MICROSECONDS


def _boot_of(entry: Entry, home: Sequence[Entry]) -> Entry | None:
    """The start of the coordinator that recorded `entry`."""
    stream = f"home/{entry.row.home}"
    return next(
        (
            started
            for started in home
            if started.type == "COORDINATOR_STARTED"
            and started.row.stream == stream
            and started.data.get("epoch") == entry.row.epoch
        ),
        None,
    )


def _judged(
    history: History,
    cause: Cause,
    certainty: Certainty,
    evidence: Sequence[Evidence],
    *,
    signal_position: int | None = None,
) -> Verdict:
    outcome = {} if history.outcome is None else history.outcome.data
    return Verdict(
        cause=cause,
        certainty=certainty,
        evidence=tuple(evidence),
        exit=history.exit,
        message=outcome.get("message") or outcome.get("reason"),
        phase=outcome.get("phase"),
        errno=outcome.get("errno"),
        signal_position=signal_position,
    )


def _event(entry: Entry | None, text: str) -> Evidence:
    return Evidence(source="log", text=text, positions=_at(entry))


def _at(entry: Entry | None) -> tuple[int, ...]:
    return () if entry is None else (entry.position,)

"""A post-mortem as titled sections of lines, the cause first: what every face for people shows, in one order."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from eventstore.record import Head
from manager.why import words
from manager.why.material import Entry
from manager.why.model import PostMortem
from manager.why.parts import Evidence, Proof
from projections.quantities import counted, duration_text, size_text
from projections.sentences import sentence

SHOWN_EVENTS = 20
SHOWN_LINES = 10

When = Callable[[int], str]


class Section(NamedTuple):
    """Lines are not made harmless: that is the renderer's business. `is_output`: they are what the agent wrote."""

    title: str
    lines: tuple[str, ...]
    is_output: bool = False


def sections(found: PostMortem, when: When) -> list[Section]:
    """All that is to be said, in order; sections with nothing to say are left out. `when` writes an instant."""
    verdict = found.verdict
    all_of_it = [
        Section("cause", (f"{verdict.cause} ({verdict.certainty})",)),
        Section("evidence", tuple(evidence_line(one) for one in verdict.evidence)),
        Section("who asked", tuple(f"{when(one.at)}  {words.asked_text(one)}" for one in found.asked)),
        Section(
            f"last output ({found.last_output_stream or 'stderr, else stdout'})",
            found.last_output[-SHOWN_LINES:],
            is_output=True,
        ),
        Section("what led to it", _before(found, when)),
        Section("coordinators", tuple(_coordinators(found.home_events, when))[-SHOWN_EVENTS:]),
        Section("resources", _resources(found)),
        Section("left over", () if found.left_over is None else (words.left_over_text(found.left_over),)),
        Section("what followed", _followed(found, when)),
        Section("failed alike", _alike(found, when)),
        Section("last failure", () if found.last_failure is None else _earlier(found, when)),
        Section("attempt", _facts(found, when)),
        Section("proof", _proof(found.proof)),
    ]
    return [section for section in all_of_it if section.lines]


def evidence_line(one: Evidence) -> str:
    """Its source, what it says, and where in the log."""
    where = f" [{', '.join(map(str, one.positions))}]" if one.positions else ""
    source = "not known" if one.source == "nobody" else one.source
    return f"{source}: {one.text}{where}"


def event_line(entry: Entry, when: When) -> str:
    """Time, sentence, actor, position."""
    return f"{when(entry.at)}  {sentence(entry.type, entry.data)}  [{entry.row.actor}, {entry.position}]"


def _before(found: PostMortem, when: When) -> tuple[str, ...]:
    shown = found.events[-SHOWN_EVENTS:]
    omitted = found.omitted_events + len(found.events) - len(shown)
    first = (f"… {counted(omitted, 'event')} before these",) if omitted else ()
    return (*first, *(event_line(entry, when) for entry in shown))


def _coordinators(entries: Sequence[Entry], when: When) -> Iterator[str]:
    """Their events, and before each start whether the one before it had vanished."""
    is_up = None
    for entry in entries:
        if entry.type == "COORDINATOR_STARTED":
            if is_up is not None and entry.data.get("taken_over_from") is None:
                yield f"…  epoch {is_up} vanished: that it stopped is not recorded"
            is_up = entry.row.epoch
        elif entry.type == "COORDINATOR_STOPPED":
            is_up = None
        yield event_line(entry, when)


def _resources(found: PostMortem) -> tuple[str, ...]:
    lines = [] if found.trend is None else words.trend_text(found.trend)
    if found.resources:
        user, system = found.resources.get("user_seconds"), found.resources.get("system_seconds")
        most = found.resources.get("max_memory_bytes")
        memory = "less memory than its shim" if most is None else f"{size_text(most)} of memory at most"
        lines.append(f"counted at its end: CPU {user} s user, {system} s system; {memory}")
    return tuple(lines)


def _followed(found: PostMortem, when: When) -> tuple[str, ...]:
    if not found.is_over:
        return ()
    return (
        words.followed_text(found.followed),
        *(event_line(entry, when) for entry in found.followed.entries[-SHOWN_EVENTS:]),
    )


def _alike(found: PostMortem, when: When) -> tuple[str, ...]:
    alike = found.alike
    if alike is None:
        return ()
    line = f"fingerprint {alike.fingerprint}: {alike.line or 'no error line'}"
    newest = (f"{when(one.at)}  {one.name} ({one.agent_id}), attempt {one.attempt}" for one in alike.newest)
    return (words.alike_text(alike), line, *newest)


def _earlier(found: PostMortem, when: When) -> tuple[str, ...]:
    earlier = found.last_failure
    assert earlier is not None
    said = (f"it said: {earlier.error_line}",) if earlier.error_line else ()
    return (f"{when(earlier.ended_at)}  {words.earlier_text(earlier)}", *said)


def _facts(found: PostMortem, when: When) -> tuple[str, ...]:
    ran = f", after {duration_text(found.runtime_seconds)}" if found.runtime_seconds is not None else ""
    started = "not started" if found.started_at is None else f"started {when(found.started_at)}"
    labels = " ".join(f"{name}={text}" for name, text in sorted(found.labels.items()))
    return (
        f"{found.name} ({found.agent_id}), attempt {found.attempt} of {found.attempts}: {found.state}",
        f"command: {shlex.join(found.command)}",
        f"{started}; {words.ended_text(found, when)}{ran}",
        *([f"labels: {labels}"] if labels else []),
    )


def _proof(proof: Proof) -> tuple[str, ...]:
    lines = [
        f"from position {proof.first.position}, {_hash(proof.first)}",
        f"to position {proof.last.position}, {_hash(proof.last)}",
        f"of a log up to position {proof.head.position}, {_hash(proof.head)}",
    ]
    if proof.outside is None:
        lines.append("no head outside the log vouches for it")
    else:
        lines.append(f"the head outside the log: position {proof.outside.position}, {_hash(proof.outside)}")
    latest = proof.checkpoint
    if latest is not None:
        by = f"naming the key {latest.key_id}" if latest.key_id else "not signed"
        held = "" if latest.is_held else "; the log has another hash there"
        lines.append(f"latest checkpoint: position {latest.position}, hash {latest.hash.hex()}, {by}{held}")
    if proof.wrong is not None:
        lines.append(f"do not trust this: {words.is_wrong(proof.wrong)}")
    lines.append("`outlive verify` recomputes the chain, and checks signatures")
    return tuple(lines)


def _hash(head: Head) -> str:
    return f"hash {head.hash.hex()}"

"""Collecting what a post-mortem rests on: from the log, the samples, and the files that vouch for the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from eventstore import payloads, trust
from eventstore.checkpoints import CheckpointFile
from eventstore.errors import InvalidRequest, OutliveError, UnknownAgent
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import COLUMNS, Head, RecordedEvent
from manager.checkpointing import path_of
from manager.home import Home
from manager.view import View
from manager.why.material import FAILURES, Checkpoint, Entry, Material, OtherFailure, Sample
from manager.why.model import PostMortem
from manager.why.post_mortem import post_mortem

MOST_FAILURES = 2_000  # of all agents, newest first: what is compared with one failure
MOST_HOME_EVENTS = 2_000

_ROW = ", ".join(f"e.{column}" for column in COLUMNS)
_FAILURES = (
    f"SELECT {_ROW}, r.data, s.data FROM events e"  # noqa: S608 (names of columns, no values)
    " LEFT JOIN events r ON r.stream = e.stream AND r.version = e.version - 1 AND r.type = 'ZOMBIE_REAPED'"
    " LEFT JOIN events s ON s.stream = e.stream AND s.version = 1"
    " WHERE e.type = ? ORDER BY e.position DESC LIMIT ?"
)
_HOME = (
    f"SELECT {_ROW} FROM events e"  # noqa: S608
    " WHERE e.stream = ? ORDER BY e.position DESC LIMIT ?"
)
_SAMPLES = (
    "SELECT attempt, sampled_at, cpu_percent, memory_bytes, threads, processes FROM samples"
    " WHERE agent_id = ? ORDER BY sampled_at, attempt"
)


class Outside(NamedTuple):
    """What vouches for the log from outside of it: its head, if that can be read, and where its checkpoints are."""

    head: Head | None
    checkpoints: Path


def why(view: View, reference: str, attempt: int | None = None) -> PostMortem:
    """The post-mortem of an agent's attempt, by default of its last one, as of now.

    Raises `UnknownAgent`, `AmbiguousAgent`, and `InvalidRequest` for an attempt that there was not.
    """
    return explain(material_of(view, reference), attempt)


def material_of(view: View, reference: str) -> Material:
    """The material of one agent, as of what the view shows. Raises `UnknownAgent`, `AmbiguousAgent`."""
    outside = _outside(view)  # before the log is looked at, which may grow meanwhile
    status = view.agent(reference)
    is_alive = None if status.is_final else status.is_alive
    found = collect(view.reader, status.id, is_alive=is_alive, outside=outside)
    return replace(found, as_of=view.as_of)


def explain(material: Material, attempt: int | None) -> PostMortem:
    """Raises `InvalidRequest` for an attempt that there was not."""
    try:
        return post_mortem(material, attempt)
    except KeyError:
        last = max(entry.row.attempt or 0 for entry in material.entries)
        raise InvalidRequest(
            f"cannot tell of attempt {attempt} of {material.name}: the last one is {last}; choose one of 1 to {last}"
        ) from None


def collect(
    reader: Reader,
    agent_id: str,
    *,
    is_alive: bool | None = None,
    outside: Outside | None = None,
) -> Material:
    """The material of one agent as of the head of the log.

    `outside`: what vouches for the log. Raises `UnknownAgent` where the log had none of that id, and
    as `Reader.rows` does.
    """
    with reader.snapshot():
        head = reader.head()
        stream = f"agent/{agent_id}"
        rows = list(reader.events(stream=stream))
        wrong = trust.wrong_row(reader, rows)
        entries = tuple(map(Entry.of, rows))
        if not entries:
            raise UnknownAgent(reference=agent_id)
        home = _newest_home_events(reader, entries[0].row.home)
        failures, is_all = _failures(reader)
        checkpoint = outside and _checkpoint(reader, outside.checkpoints, entries[0].row.home, head)
        last_output = {
            entry.row.attempt or 0: payloads.find(reader, entry.data.get("last_output"))
            for entry in entries
            if entry.type == "FAILED"
        }
        samples = reader.rows(_SAMPLES, (agent_id,))
    return Material(
        agent_id=agent_id,
        name=str(entries[-1].data.get("name") or entries[0].data.get("name", agent_id)),
        entries=entries,
        home=home,
        samples=tuple(map(Sample._make, samples)),
        failures=failures,
        is_all_failures=is_all,
        last_output=last_output,
        is_alive=is_alive,
        head=head,
        outside=outside and outside.head,
        checkpoint=checkpoint,
        wrong=wrong,
    )


def _outside(view: View) -> Outside:
    checkpoints = path_of(Home(view.home))
    try:
        return Outside(HeadFile(view.home / "head").read(), checkpoints)
    except OutliveError:
        return Outside(None, checkpoints)  # the view has said what speaks against the log


def _checkpoint(reader: Reader, path: Path, home: str, head: Head) -> Checkpoint | None:
    """The newest of a home that is not newer than `head`."""
    file = CheckpointFile(path, home=home, key=None, clock=lambda: 0)
    try:
        found = [one for one in file.read(is_recent=True) if one.head.position <= head.position]
    except OutliveError:
        return None  # `verify` tells of it
    if not found:
        return None
    last = max(found, key=lambda one: one.head.position)
    stored = reader.rows("SELECT hash FROM events WHERE position = ?", (last.head.position,))
    return Checkpoint(*last.head, last.key, is_held=bool(stored) and stored[0][0] == last.head.hash)


def _newest_home_events(reader: Reader, home: str) -> tuple[Entry, ...]:
    rows = reader.rows(_HOME, (f"home/{home}", MOST_HOME_EVENTS))
    return tuple(Entry.of(RecordedEvent._make(row)) for row in reversed(rows))


def _failures(reader: Reader) -> tuple[tuple[OtherFailure, ...], bool]:
    found: list[OtherFailure] = []
    is_all = True
    for kind in sorted(FAILURES):
        rows = reader.rows(_FAILURES, (kind, MOST_FAILURES))
        is_all = is_all and len(rows) < MOST_FAILURES
        found += [_failure(reader, row) for row in rows]
    return tuple(found), is_all


def _failure(reader: Reader, row: tuple[Any, ...]) -> OtherFailure:
    *columns, reaped, spawning = row
    outcome = Entry.of(RecordedEvent._make(columns))
    return OtherFailure(
        agent_id=outcome.row.stream.removeprefix("agent/"),
        name=str(_object(spawning).get("name", "")),
        outcome=outcome,
        exit=_object(reaped).get("exit"),
        last_output=payloads.find(reader, outcome.data.get("last_output")),
    )


def _object(text: str | None) -> Mapping[str, Any]:
    found = {} if text is None else json.loads(text)
    return found if isinstance(found, dict) else {}

"""Removing old events that were verified and exported: which may go, and the steps in their order.

Streams of agents go whole or not at all, so that every row made from events can be made again. For an agent that
has not ended, or has an event later than those that go, its first event is kept, and with it all after that.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from eventstore import segments, trust
from eventstore.checkpoints import Key
from eventstore.errors import InvalidRequest, NoDatabase, OutliveError, StoreDamaged
from eventstore.home_events import LogPruned
from eventstore.reader import Reader
from eventstore.record import Head, NewEvent, rfc3339
from eventstore.statements import Statements
from eventstore.store import EventStore
from manager import exporting, homeidentity, offline, prunedfiles, prunes, signing
from manager.checkpointing import checkpoints_of
from manager.evidence import known_head
from manager.home import Home
from manager.newfile import new_file
from manager.past import Moment
from manager.prunedfiles import Removed
from projections import rebuild
from projections.agents import AgentsProjection
from projections.kinds import FOLLOWING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SPANS = (
    "SELECT e.stream, min(e.position), max(e.position), coalesce(max(a.is_final), 0) FROM events e"
    " LEFT JOIN agents a ON e.stream = 'agent/' || a.agent_id"
    " WHERE e.stream >= 'agent/' AND e.stream < 'agent0' GROUP BY e.stream"
)
_OTHER_HOMES = "SELECT home, max(position) FROM events WHERE home <> ? GROUP BY home"
_OF_AGENTS = ("agents", "attempts", "samples", "payloads")


class Span(NamedTuple):
    """Where an agent's stream begins and ends, and whether it may still grow."""

    stream: str
    first: int
    last: int
    is_final: bool


class Bound(NamedTuple):
    """How far the log can be pruned, and the agent that it cannot be pruned further for."""

    position: int
    because: str | None


class Pruned(NamedTuple):
    """What was done: `position` 0 where nothing could go; `because`: the stream that kept more from going.

    `removed`: directories of agents, also of those that an earlier prune had left; set by `prune_home`.
    """

    position: int
    events: int
    export: Path | None
    sha256: str | None
    because: str | None
    removed: Removed = Removed(0, ())


class PruneRefused(OutliveError):
    """The log is other than it was a moment before; nothing was removed."""


def bound(wanted: int, spans: Sequence[Span]) -> Bound:
    """The furthest position up to `wanted` at which no agent's stream is cut, and none that may grow is touched."""
    position, because = wanted, None
    while True:
        kept = [
            span for span in spans if span.first <= position and (not span.is_final or span.last > position)
        ]
        if not kept:
            return Bound(position, because)
        oldest = min(kept, key=lambda span: span.first)
        position, because = oldest.first - 1, oldest.stream


def prune(
    store: EventStore,
    url: str,
    *,
    home: str,
    actor: str,
    wanted: int,
    export: Path,
    key: Key | None,
    intend: Callable[[Sequence[str]], None],
) -> Pruned:
    """Verify the log, write its events up to `wanted` or as far as they can go to `export`, check that, remove them.

    The export is signed with `key`. `intend` is told the agents that go, before they do. Raises `StoreDamaged`,
    `FileUnwritable`, `NotWhole`, `PruneRefused`; nothing was removed then.
    """
    with closing(store.reader()) as reader:
        base = reader.base().position
        limit = _limit(reader.rows(_SPANS), reader.rows(_OTHER_HOMES, (home,)), wanted)
        if limit.position <= base:
            return Pruned(0, 0, None, None, limit.because)
        _require_whole(reader, url)
        last = reader.head_at(limit.position)
        with new_file(export) as file:
            for line in exporting.lines(reader, "jsonl", start=base + 1, until=last.position, key=key):
                file.write(line.encode())
        found = offline.read(export)
        if found.head[:2] != last[:2] or found.events != last.position - base:
            raise offline.NotWhole(export, "it is not what was written; nothing was removed")
    event = LogPruned(
        position=last.position,
        hash=last.hash.hex(),
        events=found.events,
        export=export.name,
        export_sha256=file.sha256,
    )
    new = NewEvent(
        event=event,
        event_id=str(uuid4()),
        occurred_at=time_ns() // 1000,
        actor=actor,
        correlation_id=str(uuid4()),
    )
    store.prune(
        last, new, stream=f"home/{home}", forget=lambda connection: intend(_forget(connection, home, last))
    )
    rebuild.rebuild(store)
    return Pruned(last.position, found.events, export, file.sha256, limit.because)


def prune_home(home: Home, url: str, *, actor: str, before: Moment, export: Path) -> Pruned:
    """`prune` the log of a home of what is older than a moment, and remove the directories of the agents that go.

    A coordinator may be at work meanwhile. The export is signed where OUTLIVE_SIGNING_KEY names a key. Raises
    `NoDatabase` where nothing was recorded yet, `InvalidRequest` for a moment that is still to come, `KeyUnusable`, and
    as `prune` does.
    """
    if before.instant is not None and before.instant > time_ns() // 1000:
        raise InvalidRequest(
            f"cannot prune what is older than {rfc3339(before.instant)}: that is still to come; give a past time"
        )
    if known_head(home) is None:
        raise NoDatabase(f"cannot prune {home.path}: nothing was recorded there yet")
    identity = homeidentity.read(home.identity)
    prunes.require_vouched(home, url)
    store = EventStore.open(
        url,
        home=identity.id,
        host=platform.node(),
        inline=[AgentsProjection()],
        create=False,
        head=home.head,
        checkpoints=checkpoints_of(home, identity.id),
    )
    with store, closing(store.reader()) as reader:
        if before.position is not None:
            wanted, last = before.position - 1, reader.head().position
            if wanted > last:
                raise InvalidRequest(
                    f"cannot prune what is before position {before.position}: the log ends at {last}; "
                    f"give one up to {last + 1}"
                )
        else:
            assert before.instant is not None
            wanted = reader.position_before(before.instant)
        prunedfiles.intend(home, prunedfiles.left_unlisted(home, reader))
        earlier = prunedfiles.finish(home, reader)
        found = prune(
            store,
            url,
            home=identity.id,
            actor=actor,
            wanted=wanted,
            export=export,
            key=signing.of_environment(),
            intend=lambda ids: prunedfiles.intend(home, ids, export),
        )
        now = prunedfiles.finish(home, reader)
        return found._replace(removed=Removed(earlier.directories + now.directories, now.left))


def _limit(spans: Iterable[Sequence[Any]], others: Iterable[Sequence[Any]], wanted: int) -> Bound:
    limit = bound(wanted, [Span(stream, first, last, bool(final)) for stream, first, last, final in spans])
    kept = min((last - 1 for _, last in others), default=limit.position)
    return limit if kept >= limit.position else Bound(kept, "another home")


def _forget(connection: Connection, home: str, last: Head) -> list[str]:
    """Remove the rows of the agents that go, and name these; once more, and for good, see whether they may."""
    statements = Statements(connection)
    spans = statements.rows(_SPANS)
    if _limit(spans, statements.rows(_OTHER_HOMES, (home,)), last.position).position != last.position:
        raise PruneRefused(
            "cannot prune: an agent that has ended was started again meanwhile; prune once more"
        )
    gone = [(str(stream).removeprefix("agent/"),) for stream, first, *_ in spans if first <= last.position]
    for table in _OF_AGENTS:
        statements.run_many(f"DELETE FROM {table} WHERE agent_id = ?", gone)  # noqa: S608 (our own names)
    # What follows the log later is made anew from what is left of it.
    for kind in FOLLOWING:
        for kept in kind.tables:
            statements.run(f"DELETE FROM {kept.name}")  # noqa: S608 (our own names)
        statements.run("DELETE FROM projections WHERE name = ?", (kind.name,))
    return [agent_id for (agent_id,) in gone]


def _require_whole(reader: Reader, url: str) -> None:
    verdict = segments.verify(url)
    why = f"{verdict.problem}: {verdict.detail}" if not verdict.is_intact else trust.unsaid(reader)
    if why is not None:
        raise StoreDamaged(
            f"cannot prune: the log is not what was written ({why}); see `outlive verify`",
            position=verdict.position,
        )

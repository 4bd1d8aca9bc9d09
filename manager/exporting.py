"""The log as other programs take it: JSON lines (lossless, can be verified), CloudEvents, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from eventstore import chain
from eventstore.checkpoints import Key
from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import COLUMNS, Head, RecordedEvent, rfc3339

SCHEMA = "outlive.export/1"
END_SCHEMA = "outlive.export.end/1"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def lines(
    reader: Reader, kind: str, *, start: int | None, until: int | None, key: Key | None = None
) -> Iterator[str]:
    """The log from `start` or its first event to `until` or the head, a line each with its end.

    `kind`: jsonl, cloudevents, csv. JSON lines are signed with `key` in their last one. Raises `InvalidRequest` where
    the log does not reach from the one to the other; the lines raise `StoreDamaged` at the first row that is not what
    was written.
    """
    head, base = reader.head(), reader.base()
    start = base.position + 1 if start is None else start
    last = head.position if until is None else until
    if last > head.position or start > max(last, 1):
        raise InvalidRequest(
            f"cannot export {start} to {last}: the log ends at {head.position}; "
            "give positions that it has, the lower first"
        )
    if start <= base.position:
        raise InvalidRequest(
            f"cannot export from {start}: the log was pruned up to {base.position}; begin after it"
        )
    before = reader.head_at(start - 1)
    rows = _checked(reader.events(after=start - 1, until=last), before, last)
    match kind:
        case "jsonl":
            return _jsonl(rows, before, last, key)
        case "cloudevents":
            return (_line(cloud_event(row)) for row in rows)
        case _:
            return _csv(rows)


def signed_bytes(first: int, previous_hash: bytes, last: int, last_hash: bytes) -> bytes:
    """What is signed of JSON lines: their schema, and with which hashes they begin and end, a line each.

    The hashes cover every row between.
    """
    return f"{SCHEMA}\n{first}\n{previous_hash.hex()}\n{last}\n{last_hash.hex()}\n".encode()


def row_json(row: RecordedEvent) -> dict[str, Any]:
    """The row as it is: times in microseconds, `data` the text that was hashed, hashes in hex."""
    return {
        **dict(zip(COLUMNS, row, strict=True)),
        "previous_hash": row.previous_hash.hex(),
        "hash": row.hash.hex(),
    }


def cloud_event(row: RecordedEvent) -> dict[str, Any]:
    """The event in the JSON format of CloudEvents 1.0, with what they lack as extension attributes."""
    more = {
        "attempt": row.attempt,
        "actor": row.actor,
        "correlationid": row.correlation_id,
        "causationid": row.causation_id,
    }
    return {
        "specversion": "1.0",
        "id": row.event_id,
        "source": f"urn:outlive:home:{row.home}",
        "type": f"outlive.{row.type}.v{row.schema_version}",
        "subject": row.stream,
        "time": rfc3339(row.occurred_at),
        "datacontenttype": "application/json",
        "sequence": f"{row.position:020}",
        "recordedat": rfc3339(row.recorded_at),
        "host": row.host,
        "epoch": str(row.epoch),
        "streamversion": str(row.version),
        "previoushash": row.previous_hash.hex(),
        "hash": row.hash.hex(),
        **{name: str(value) for name, value in more.items() if value is not None},
        "data": json.loads(row.data),
    }


def guarded(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _checked(rows: Iterable[RecordedEvent], before: Head, last: int) -> Iterator[RecordedEvent]:
    """The rows, as long as each follows from the one before, up to the `last`."""
    position, running = before.position + 1, before.hash
    for row in rows:
        if (row.position, row.previous_hash) != (position, running) or not chain.is_own_hash(row):
            break
        yield row
        position, running = position + 1, row.hash
    if position <= last:
        raise StoreDamaged(
            f"cannot export the log: from position {position} on it is not what was written; see `outlive verify`, or "
            f"export what is before it with --to",
            position=position,
        )


def _jsonl(rows: Iterable[RecordedEvent], before: Head, last: int, key: Key | None) -> Iterator[str]:
    first = before.position + 1
    yield _line({"schema": SCHEMA, "from": first, "to": last, "previous_hash": before.hash.hex()})
    count, running = 0, before.hash
    for row in rows:
        yield _line(row_json(row))
        count, running = count + 1, row.hash
    end: dict[str, Any] = {"schema": END_SCHEMA, "events": count, "position": last, "hash": running.hex()}
    if key is not None and key.sign is not None:
        message = signed_bytes(first, before.hash, last, running)
        end |= {"key": key.id, "signature": key.sign(message).hex()}
    yield _line(end)


def _csv(rows: Iterable[RecordedEvent]) -> Iterator[str]:
    yield _csv_line(COLUMNS)
    for row in rows:
        yield _csv_line(guarded(value) for value in row_json(row).values())


def _csv_line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _line(value: Any) -> str:
    return f"{json.dumps(value, separators=(',', ':'))}\n"

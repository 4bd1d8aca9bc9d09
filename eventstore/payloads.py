"""Texts of agents that an event names by their digest alone: they can be erased, and the chain stays whole.

The digest is SHA-256 over a random salt and the text, so that once both are erased not even a short text can be guessed
from it. Row and event are written, and erased and recorded as erased, in one transaction each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.record import rfc3339
from eventstore.values import StoredText, Stream

if TYPE_CHECKING:
    from eventstore.reader import Reader

SALT_BYTES = 32

INSERT = (
    "INSERT INTO payloads (digest, agent_id, recorded_at, salt, content, error_line) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (digest) DO NOTHING"
)
ERASE = (
    "UPDATE payloads SET salt = NULL, content = NULL, error_line = NULL, erased_at = ?, erased_by = ?"
    " WHERE digest = ? AND erased_at IS NULL"
)
_LEFT = "SELECT digest FROM payloads WHERE agent_id = ? AND erased_at IS NULL ORDER BY recorded_at, digest"
_FIND = "SELECT content, salt, erased_at, erased_by FROM payloads WHERE digest = ?"
_ALL = "SELECT digest, salt, content, erased_at FROM payloads ORDER BY recorded_at, digest"
_KEPT = "SELECT digest, salt, content, error_line FROM payloads WHERE content IS NOT NULL ORDER BY digest"
_ERASURES = "SELECT data FROM events WHERE type = 'PAYLOADS_ERASED' AND position > ? ORDER BY position"
_NAMING = (
    "SELECT position, type, data FROM events WHERE type IN ('FAILED', 'PAYLOADS_ERASED') ORDER BY position"
)


class Payload(NamedTuple):
    """A text on its way into the log.

    `salt`: `SALT_BYTES` random bytes. `error_line`: the line by which failures are alike; erased with the text.
    `stream`: what it was written to.
    """

    agent_id: str
    salt: bytes
    content: str
    error_line: str = ""
    stream: Stream | None = None

    @property
    def reference(self) -> StoredText:
        """What an event holds of it."""
        size = len(self.content.encode())
        return StoredText(digest=_digest(self.salt, self.content), size_bytes=size, stream=self.stream)

    def row(self, recorded_at: int) -> tuple[object, ...]:
        """The values of `INSERT`."""
        digest = self.reference.digest
        return digest, self.agent_id, recorded_at, self.salt, self.content, self.error_line


class Found(NamedTuple):
    """The lines of a text; or `gone`: what became of it. `stream`: what it was written to, where that is recorded."""

    lines: tuple[str, ...]
    gone: str | None = None
    stream: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """The lines to show: of an erased text, who erased it and when."""
        return self.lines if self.gone is None else (self.gone,)


def left_of(reader: Reader, agent_id: str) -> list[str]:
    """Digests of an agent's texts that are not erased, oldest first."""
    return [digest for (digest,) in reader.rows(_LEFT, (agent_id,))]


def kept(rows: Callable[[str], Iterable[Sequence[Any]]]) -> Iterator[tuple[str, str, str | None]]:
    """Digest, text and error line of each text that is there and is what was recorded. `rows` answers a query."""
    for digest, salt, content, line in rows(_KEPT):
        if _is_what_was_written(digest, salt, content):
            yield digest, content, line


def erased_after(reader: Reader, position: int) -> frozenset[str]:
    """Digests of the texts that events after `position` say are erased."""
    rows = reader.rows(_ERASURES, (position,))
    return frozenset(digest for (data,) in rows for digest in json.loads(data)["digests"])


def find(reader: Reader, stored: Mapping[str, Any] | Sequence[str] | None) -> Found:
    """The text that an event's stored JSON, of any release, names."""
    if stored is None:
        return Found(())
    if not isinstance(stored, Mapping):
        return Found(tuple(map(str, stored)))
    return _find(reader, stored)._replace(stream=stored.get("stream"))


def _find(reader: Reader, stored: Mapping[str, Any]) -> Found:
    if stored.get("text") is not None:
        return Found(tuple(stored["text"].split("\n")))
    rows = reader.rows(_FIND, (stored.get("digest"),))
    if not rows:
        return Found((), "[missing]")
    content, salt, erased_at, erased_by = rows[0]
    if content is None and erased_at is not None:
        return Found((), f"[erased by {erased_by} at {rfc3339(erased_at)}]")
    if not _is_what_was_written(stored.get("digest"), salt, content):
        return Found((), "[changed: not what was recorded; see `outlive verify`]")
    return Found(tuple(content.split("\n")))


def lines_of(reader: Reader, stored: Mapping[str, Any] | Sequence[str] | None) -> tuple[str, ...]:
    """The lines to show of it."""
    return find(reader, stored).shown


def wrong(reader: Reader) -> Iterator[str]:
    """What speaks against the texts: changed, gone, or erased without a word in the log. Some 10 µs a text."""
    kept = {}
    for digest, salt, content, erased_at in reader.rows(_ALL):
        kept[digest] = erased_at is not None
        if erased_at is None and not _is_what_was_written(digest, salt, content):
            yield f"text {digest[:16]} is not what was recorded"
    named, erased = {}, set()
    for position, kind, data in reader.rows(_NAMING):
        body = json.loads(data)
        if kind == "PAYLOADS_ERASED":
            erased.update(body["digests"])
        elif isinstance(body["last_output"], dict) and body["last_output"]["digest"]:
            named[body["last_output"]["digest"]] = position
    for digest, position in named.items():
        if digest not in kept:
            yield f"text {digest[:16]}, which the event at {position} names, is missing"
        elif kept[digest] and digest not in erased:
            yield f"text {digest[:16]}, which the event at {position} names, was erased and no event says so"


def _is_what_was_written(digest: object, salt: object, content: object) -> bool:
    return isinstance(salt, bytes) and isinstance(content, str) and _digest(salt, content) == digest


def _digest(salt: bytes, content: str) -> str:
    return sha256(salt + content.encode()).hexdigest()

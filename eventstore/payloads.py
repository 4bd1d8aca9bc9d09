"""Texts of agents that an event names by their digest alone: they can be erased, and the chain stays whole.

The digest is SHA-256 over a random salt and the text, so that once both are erased not even a short text can be guessed
from it. Row and event are written, and erased and recorded as erased, in one transaction each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.record import rfc3339
from eventstore.values import StoredText

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
_FIND = "SELECT content, erased_at, erased_by FROM payloads WHERE digest = ?"


class Payload(NamedTuple):
    """A text on its way into the log. `salt`: `SALT_BYTES` random bytes; `error_line`, `likeness`: see `StoredText`."""

    agent_id: str
    salt: bytes
    content: str
    error_line: str | None = None
    likeness: str | None = None

    @property
    def reference(self) -> StoredText:
        """What an event holds of it."""
        content = self.content.encode()
        digest = sha256(self.salt + content).hexdigest()
        return StoredText(digest=digest, size_bytes=len(content), likeness=self.likeness)

    def row(self, recorded_at: int) -> tuple[object, ...]:
        """The values of `INSERT`."""
        digest = self.reference.digest
        return digest, self.agent_id, recorded_at, self.salt, self.content, self.error_line


class Found(NamedTuple):
    """The lines of a text; or `gone`: what became of it."""

    lines: tuple[str, ...]
    gone: str | None = None


def left_of(reader: Reader, agent_id: str) -> list[str]:
    """Digests of an agent's texts that are not erased, oldest first."""
    return [digest for (digest,) in reader.rows(_LEFT, (agent_id,))]


def find(reader: Reader, stored: Mapping[str, Any] | Sequence[str] | None) -> Found:
    """The text that an event's stored JSON, of any release, names."""
    if stored is None:
        return Found(())
    if not isinstance(stored, Mapping):
        return Found(tuple(map(str, stored)))
    if stored.get("text") is not None:
        return Found(tuple(stored["text"].split("\n")))
    rows = reader.rows(_FIND, (stored.get("digest"),))
    if not rows:
        return Found((), "[missing]")
    content, erased_at, erased_by = rows[0]
    if content is None:
        return Found((), f"[erased by {erased_by} at {rfc3339(erased_at)}]")
    return Found(tuple(content.split("\n")))


def lines_of(reader: Reader, stored: Mapping[str, Any] | Sequence[str] | None) -> tuple[str, ...]:
    """The lines to show of it: of an erased text, who erased it and when."""
    found = find(reader, stored)
    return found.lines if found.gone is None else (found.gone,)

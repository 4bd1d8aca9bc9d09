"""The error lines of texts, by which failures are alike: kept beside each text, and told from nothing but that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from eventstore import payloads
from eventstore.statements import Statements
from projections.fingerprint import error_line, normalised


def line_of(lines: Sequence[str]) -> str:
    """What of these lines of output makes failures alike."""
    return normalised(error_line(lines))


def differing(rows: Callable[[str], Iterable[Sequence[Any]]]) -> Iterator[tuple[str, str | None, str]]:
    """Digest, kept line and the line that the text gives, where these differ. `rows` answers a query."""
    for digest, text, kept in payloads.kept(rows):
        line = line_of(text.split("\n"))
        if line != kept:
            yield digest, kept, line


def mend(statements: Statements) -> None:
    """Keep the lines that the texts give: what folds read must not be older than its rules, nor somebody's own."""
    statements.run_many(
        "UPDATE payloads SET error_line = ? WHERE digest = ?",
        [(line, digest) for digest, _, line in differing(statements.rows)],
    )

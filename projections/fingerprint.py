"""Which failures are alike: the same cause, the same exit, and the same last error line but for what varies. Pure.

The id of a fingerprint is stable across agents, homes and machines. A change of the rules below changes ids, which are
kept nowhere but in rows that can be rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

LONGEST_LINE = 2_000  # characters that are looked at
LONGEST_SHOWN = 200
ERASED = "(erased)"  # stands for the line that nobody has any more

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_DATE = r"\d{4}[-/.]\d{2}[-/.]\d{2}"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?: ?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(rf"\b{_DATE}(?:[T ]{_CLOCK})?|\b{_MONTH} {{1,2}}\d{{1,2}} {_CLOCK}|\b{_CLOCK}"), "<time>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s'\"<>)\]]+"), "<url>"),
    (re.compile(r"(?<!\w)\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|`[^`]*`|“[^”]*”|‘[^’]*’"), "<quoted>"),
    (re.compile(r"(?<![\w<>/.~])(?:~|\.{1,2})?/[^\s'\",;:()\[\]<>]+"), "<path>"),
    (re.compile(r"(?<![\w<>/.-])[\w.-]+/(?:[\w.-]+/)*[\w.-]*\.[A-Za-z]\w*"), "<path>"),
    (re.compile(r"(?i)\b0x[0-9a-f]+\b|\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_SAYS_ERROR = re.compile(
    r"(?i)error|exception|fatal|panic|fail|abort|assert|cannot|can't|could not|denied|refused|no such|not found"
    r"|fault|invalid|out of memory|killed|terminated"
)
_IS_PLACE = re.compile(r"^\s*(?:at |File \"|\^|~|Node\.js v)|^Traceback \(most recent call last\)")
_LETTER = re.compile(r"[^\W\d_]")


class Fingerprint(NamedTuple):
    """`id`: 16 hex digits. `line`: the error line with what varies replaced by `<n>`, `<path>` and the like."""

    id: str
    line: str


def fingerprint(cause: str, exit_: Mapping[str, Any] | None, lines: Sequence[str]) -> Fingerprint:
    """The fingerprint of an end with this cause, `exit` as ZOMBIE_REAPED holds it, and the last lines of output."""
    return of_line(cause, exit_, normalised(error_line(lines)))


def of_line(cause: str, exit_: Mapping[str, Any] | None, line: str | None) -> Fingerprint:
    """The same by the normalised error line; null: erased, and cause and exit alone tell it apart."""
    told = json.dumps([cause, _what_counts(exit_), line], separators=(",", ":"))
    mark = hashlib.sha256(told.encode("ascii")).hexdigest()[:16]
    return Fingerprint(mark, ERASED if line is None else line)


def of_end(
    outcome: Mapping[str, Any], exit_: Mapping[str, Any] | None, lines: Sequence[str] | None
) -> Fingerprint:
    """The fingerprint of FAILED or LOST, whose data `outcome` is; `lines` null: they are erased.

    Where there are no lines, as of a program that was not even started, its message or reason stands in for them.
    """
    message, cause = outcome.get("message") or outcome.get("reason"), str(outcome.get("cause", "unknown"))
    if lines is None:
        return of_line(cause, exit_, None)
    return fingerprint(cause, exit_, lines or ([str(message)] if message else []))


def error_line(lines: Sequence[str]) -> str:
    """The last line that speaks of an error; else the last one with a letter in it; else nothing."""
    spoken = [line for text in lines if _LETTER.search(line := plain(text)) and not _IS_PLACE.search(line)]
    return next((line for line in reversed(spoken) if _SAYS_ERROR.search(line)), spoken[-1] if spoken else "")


def normalised(line: str) -> str:
    """The line with times, ids, addresses, paths, quotations and numbers replaced by their kinds."""
    line = plain(line)
    for pattern, kind in _RULES:
        line = pattern.sub(kind, line)
    return line.strip()[:LONGEST_SHOWN]


def plain(line: str) -> str:
    """The line without the escape sequences of terminals, and of bounded length."""
    return _ESCAPES.sub("", line[:LONGEST_LINE])


def _what_counts(exit_: Mapping[str, Any] | None) -> list[Any]:
    if exit_ is None:
        return []
    kind = exit_.get("kind")
    return [kind, exit_.get(kind)] if kind in ("code", "signal") else [kind]

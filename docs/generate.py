"""Write the documents that the code already knows: every event, and the lifecycle with its diagram.

Run as `python -m docs.generate`; with `--check` nothing is written, and the exit code is 1 if a document on disk
differs from what the code says.
"""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from pathlib import Path

from eventstore import values
from eventstore.events import EVENT_TYPES, Event
from eventstore.home_events import CoordinatorEvent
from eventstore.lifecycle import TRANSITIONS

FOLDER = Path(__file__).resolve().parent
WRITTEN_BY = "<!-- Written by `make docs` from {source}; edit that instead. -->\n"


def events_document() -> str:
    """Markdown: each event type with its meaning and fields, then the values that fields are made of."""
    ours = set(CoordinatorEvent.__args__)
    lines = [
        "# Events\n",
        WRITTEN_BY.format(source="`eventstore/events.py`, `home_events.py` and `values.py`"),
        "Times (`…_at`) are integers, microseconds since the epoch in UTC; `…_seconds` are durations. A type name and",
        "its version never change their meaning; older shapes are read as the newest.\n",
        "## Of an agent\n",
        *_sections(kind for kind in EVENT_TYPES.values() if kind not in ours),
        "## Of the home\n",
        *_sections(kind for kind in EVENT_TYPES.values() if kind in ours),
        "## Values\n",
    ]
    for kind in vars(values).values():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            lines += [f"### {kind.__name__}\n", cleandoc(kind.__doc__ or ""), "", *_fields(kind)]
    return "\n".join(lines).rstrip() + "\n"


def lifecycle_document() -> str:
    """Markdown: the transition table as a diagram and as rows. What is not there is illegal."""
    lines = [
        "# Lifecycle\n",
        WRITTEN_BY.format(source="the table in `eventstore/lifecycle.py`"),
        "What the table lacks is illegal: the log refuses it.\n",
        "```mermaid",
        "stateDiagram-v2",
        *(f"    {source} --> {target}: {', '.join(kinds)}" for source, target, kinds in _moves()),
        "```\n",
        "| state | event | next state |",
        "| --- | --- | --- |",
    ]
    for state, row in TRANSITIONS.items():
        lines += [f"| {state or '(no agent yet)'} | {kind} | {target} |" for kind, target in row.items()]
    return "\n".join(lines) + "\n"


DOCUMENTS = {"events.md": events_document, "lifecycle.md": lifecycle_document}


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` compare them; the exit code."""
    texts = {FOLDER / name: make() for name, make in DOCUMENTS.items()}
    if "--check" not in arguments:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.name for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text
    ]
    if stale:
        print(f"cannot pass: docs out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


def _sections(kinds: Iterable[type[Event]]) -> Iterator[str]:
    for kind in kinds:
        yield f"### {kind.TYPE}\n"
        yield f"Version {kind.SCHEMA_VERSION}. {cleandoc(kind.__doc__ or '')}\n"
        yield from _fields(kind)


def _fields(kind: type) -> Iterator[str]:
    fields = dataclasses.fields(kind)
    if fields:
        yield "| field | type |\n| --- | --- |"
        yield from (
            f"| `{field.name}` | `{str(field.type).replace('|', chr(92) + '|')}` |" for field in fields
        )
        yield ""


def _moves() -> Iterator[tuple[str, str, list[str]]]:
    """(state, next state, event types that lead there), stays left out; `[*]` is where an agent begins."""
    for state, row in TRANSITIONS.items():
        for target in dict.fromkeys(row.values()):
            if target != state:
                yield state or "[*]", target, _leading(row, target)


def _leading(row: Mapping[str, object], target: object) -> list[str]:
    return [kind for kind, reached in row.items() if reached == target]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

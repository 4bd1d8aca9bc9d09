"""Every shape ever written stays readable: the golden files hold them.

`tests/golden/events.jsonl` has stored events of every type and version, `tests/golden/shapes.json` the fields of each
version. Lines are added, never changed; the failing test prints those to add.
"""

import json
import types
import typing
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from eventstore.codec import UnknownEvent, decode, encode
from eventstore.events import EVENT_TYPES
from tests.support.histories import coordinator_samples, samples

GOLDEN = Path(__file__).parent.parent / "golden"


def shape(kind: Any) -> str:
    """The fields of a type, spelled out to the last leaf, independent of class names."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return "{" + ", ".join(f"{f.name}: {shape(hints[f.name])}" for f in fields(kind)) + "}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(repr(member.value) for member in kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(shape(argument) for argument in arguments)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(shape(argument) for argument in arguments)}]"
    return "null" if kind is types.NoneType else "..." if kind is ... else str(kind.__name__)


def _lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / "events.jsonl").read_text().splitlines()]


def test_a_change_of_shape_needs_a_new_version() -> None:
    """The fields of a type under one version never change: raise SCHEMA_VERSION and add an upcaster instead."""
    known: dict[str, str] = json.loads((GOLDEN / "shapes.json").read_text())
    today = {f"{name}/{cls.SCHEMA_VERSION}": shape(cls) for name, cls in EVENT_TYPES.items()}
    assert {key: known.get(key) for key in today} == today


def test_every_golden_event_can_be_read() -> None:
    """What any release has written is understood by this one."""
    for line in _lines():
        event = decode(line["type"], line["schema_version"], line["data"])
        assert not isinstance(event, UnknownEvent), line


def test_todays_events_are_golden() -> None:
    """What this release writes is in the golden file to the byte, so that the next one must read it."""
    golden = {(line["type"], line["schema_version"], line["data"]) for line in _lines()}
    missing = [encode(event) for event in [*samples(), *coordinator_samples()] if encode(event) not in golden]
    lines = [
        json.dumps({"type": t, "schema_version": v, "data": d}, ensure_ascii=False) for t, v, d in missing
    ]
    assert not missing, "add to tests/golden/events.jsonl:\n" + "\n".join(lines)

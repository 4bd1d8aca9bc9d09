"""Between events and the text that the log keeps: strict both ways, old shapes upcast, unknown ones kept.

The text is JSON with sorted keys, compact, UTF-8 as is. It is hashed as it stands and never written again; a change of
shape raises the class's `SCHEMA_VERSION` and registers an upcaster here, which runs on reading only.
pydantic is imported on first use: whoever only lists agents never pays for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.events import EVENT_TYPES, Event

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TEXT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
MAX_DATA_BYTES = 65_536  # one event; longer texts belong in files that an event names

Shape = dict[str, Any]
Upcaster = Callable[[Shape], Shape]
_UPCASTERS: dict[tuple[str, int], Upcaster] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """An event of a type or schema version that this release does not know: kept, verified, and skipped by folds."""

    type: str
    schema_version: int
    data: str


def upcaster(type_name: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function that turns the stored object of `from_version` into that of the next version."""

    def register(function: Upcaster) -> Upcaster:
        _UPCASTERS[(type_name, from_version)] = function
        return function

    return register


def encode(event: Event) -> tuple[str, int, str]:
    """The stored type name, schema version and JSON text of `event`.

    Raises `InvalidRequest` for what could not be read back: a value of the wrong type, a NUL character, a lone
    surrogate, a number that is not finite, or a text of more than `MAX_DATA_BYTES`.
    """
    name = event.TYPE
    adapter = _adapter(name)
    try:
        plain = adapter.dump_python(event, mode="json", warnings=False)
        text = _TEXT.encode(plain)
        size = len(text.encode())
        adapter.validate_json(text)
    except (ValueError, TypeError) as error:  # pydantic's and Unicode's errors are ValueErrors
        raise InvalidRequest(f"cannot record {name}: {_in_a_line(error)}; correct the value") from error
    if size > MAX_DATA_BYTES:
        raise InvalidRequest(
            f"cannot record {name}: {size} bytes, {MAX_DATA_BYTES} are allowed; put long texts into files"
        )
    if "\\u0000" in text and _has_nul(plain):
        raise InvalidRequest(f"cannot record {name}: a text in it holds a NUL character; remove it")
    return name, event.SCHEMA_VERSION, text


def decode(
    type_name: str, schema_version: int, data: str, *, position: int | None = None
) -> Event | UnknownEvent:
    """The event in a stored text, or `UnknownEvent` for a type or version of a newer release.

    Raises `StoreDamaged` (with `position`, if given) when the text does not have the shape that it claims.
    """
    cls = EVENT_TYPES.get(type_name)
    if cls is None or schema_version > cls.SCHEMA_VERSION:
        return UnknownEvent(type=type_name, schema_version=schema_version, data=data)
    try:
        if schema_version < cls.SCHEMA_VERSION:
            data = json.dumps(_upcast(type_name, schema_version, cls.SCHEMA_VERSION, json.loads(data)))
        event: Event = _reader(type_name)(data)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        where = "" if position is None else f" at position {position}"
        raise StoreDamaged(
            f"cannot read the {type_name} event{where}: {_in_a_line(error)}; run `outlive verify`",
            position=position,
        ) from error
    return event


def _in_a_line(error: Exception) -> str:
    """What was wrong with a value: of pydantic's account the first finding."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    first, *more = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(map(str, first["loc"]))
    rest = f" (and {len(more)} more)" if more else ""
    return f"{where}: {first['msg']}{rest}" if where else f"{first['msg']}{rest}"


def _upcast(type_name: str, found: int, wanted: int, shape: Shape) -> Shape:
    for version in range(found, wanted):
        step = _UPCASTERS.get((type_name, version))
        if step is None:
            raise ValueError(f"no upcaster from schema version {version}")
        shape = step(shape)
    return shape


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
        case list() | tuple():
            return any(_has_nul(item) for item in value)
    return False


@cache
def _adapter(type_name: str) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(EVENT_TYPES[type_name])


@cache
def _reader(type_name: str) -> Callable[[str], Any]:
    return _adapter(
        type_name
    ).validator.validate_json  # what TypeAdapter's own does, without its many parameters


@upcaster("SPAWNING", 1)
def _spawned_without_rules(shape: Shape) -> Shape:
    return {**shape, "spec": {**shape["spec"], "limits": None, "health": None}}


@upcaster("FAILED", 1)
def _failed_without_oom(shape: Shape) -> Shape:
    return shape  # a cause was added


@upcaster("CANCELLED", 1)
def _cancelled_without_reason(shape: Shape) -> Shape:
    return {**shape, "reason": None}


@upcaster("FAILED", 2)
def _failed_with_lines_inside(shape: Shape) -> Shape:
    text = "\n".join(shape["last_output"])
    stored = {"digest": None, "size_bytes": len(text.encode()), "text": text} if text else None
    return {**shape, "last_output": stored}


@upcaster("FAILED", 3)
def _failed_without_stream(shape: Shape) -> Shape:
    return shape  # which of its streams the last output is of was added


@upcaster("ZOMBIE_REAPED", 1)
def _reaped_with_the_shims_memory(shape: Shape) -> Shape:
    return shape  # the most memory may be unknown


@upcaster("COORDINATOR_STARTED", 1)
def _started_without_takeover(shape: Shape) -> Shape:
    return {**shape, "taken_over_from": None}


@upcaster("RECOVERY_COMPLETED", 1)
def _recovered_without_due_attempts(shape: Shape) -> Shape:
    return {**shape, "due_attempts": 0}

"""Events and their stored text: what goes in comes back, and what couldn't is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from eventstore import codec, events
from eventstore.codec import MAX_DATA_BYTES, UnknownEvent, decode, encode
from eventstore.errors import InvalidRequest, StoreDamaged
from eventstore.events import AgentRunning, AgentSpawning, Event, RestartScheduled
from tests.support.histories import coordinator_samples, samples, spawning


@pytest.fixture
def newer_running(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A release in which RUNNING has reached schema version 3."""
    monkeypatch.setattr(events.AgentRunning, "SCHEMA_VERSION", 3)
    before = dict(codec._UPCASTERS)
    yield
    codec._UPCASTERS.clear()
    codec._UPCASTERS.update(before)


@pytest.mark.parametrize("event", [*samples(), *coordinator_samples()], ids=lambda event: event.TYPE)
def test_what_is_stored_comes_back(event: Event) -> None:
    """Every event is the same after a round through its text."""
    type_name, version, text = encode(event)
    assert decode(type_name, version, text) == event


def test_the_text_has_sorted_keys_and_no_blanks() -> None:
    """The same event gives the same bytes: keys sorted, compact, UTF-8 as is."""
    _, _, text = encode(spawning())
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "naïve ☃" in text


def _with(command: tuple[str, ...]) -> AgentSpawning:
    return replace(spawning(), spec=replace(spawning().spec, command=command))


REFUSED: dict[str, Any] = {
    "a NUL character": _with(("echo", "a\0b")),
    "half a character": _with(("echo", "\ud800")),
    "too long": _with(("x" * MAX_DATA_BYTES,)),
    "too long in bytes": _with(("☃" * (MAX_DATA_BYTES // 2),)),
    "not finite": RestartScheduled(
        attempt=1, next_attempt=2, delay_seconds=float("inf"), due_at=1, used=1, reason="r"
    ),
    "not a number": RestartScheduled(
        attempt=1, next_attempt=2, delay_seconds=float("nan"), due_at=1, used=1, reason="r"
    ),
    "the wrong type": AgentRunning(attempt="1", evidence="x"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED.keys())
def test_what_could_not_be_read_back_is_refused(event: Event) -> None:
    """Nothing gets into the log that a reader would choke on."""
    with pytest.raises(InvalidRequest, match="cannot record"):
        encode(event)


def test_the_words_backslash_u0000_are_no_nul() -> None:
    """A text that only spells the escape is kept as it is."""
    event = _with(("printf", "\\u0000"))
    assert decode(*encode(event)) == event


@pytest.mark.parametrize(
    "text",
    [
        '{"attempt":1}',  # a field is missing
        '{"attempt":1,"evidence":"x","extra":1}',  # one too many
        '{"attempt":"1","evidence":"x"}',  # the wrong type, not converted
        '{"attempt":1.0,"evidence":"x"',  # cut off
        "",
    ],
)
def test_a_text_of_another_shape_is_damage(text: str) -> None:
    """A stored text must have exactly the shape that its type and version say; else the position is named."""
    with pytest.raises(StoreDamaged, match="position 17") as caught:
        decode("RUNNING", 1, text, position=17)
    assert caught.value.position == 17


@pytest.mark.parametrize(("type_name", "version"), [("TELEPORTED", 1), ("RUNNING", 2)])
def test_events_of_newer_releases_are_kept(type_name: str, version: int) -> None:
    """An unknown type or a higher version gives an UnknownEvent with the text as it is, not an error."""
    unknown = decode(type_name, version, '{"what":"ever"}')
    assert unknown == UnknownEvent(type=type_name, schema_version=version, data='{"what":"ever"}')


@pytest.mark.usefixtures("newer_running")
def test_old_shapes_are_upcast_step_by_step() -> None:
    """A version 1 text is led through every step to today's shape; the stored text stays."""

    @codec.upcaster("RUNNING", 1)
    def _first(shape: dict[str, Any]) -> dict[str, Any]:
        return {"attempt": shape["n"], "proof": shape["proof"]}

    @codec.upcaster("RUNNING", 2)
    def _second(shape: dict[str, Any]) -> dict[str, Any]:
        return {"attempt": shape["attempt"], "evidence": shape["proof"]}

    wanted = AgentRunning(attempt=2, evidence="alive")
    assert decode("RUNNING", 1, '{"n":2,"proof":"alive"}') == wanted
    assert decode("RUNNING", 2, '{"attempt":2,"proof":"alive"}') == wanted
    assert decode("RUNNING", 3, '{"attempt":2,"evidence":"alive"}') == wanted


@pytest.mark.usefixtures("newer_running")
def test_a_missing_upcaster_is_not_passed_over() -> None:
    """An old shape that nobody can lead to today's is an error, never a guess."""
    with pytest.raises(StoreDamaged, match="no upcaster"):
        decode("RUNNING", 1, '{"attempt":1,"evidence":"x"}')

"""Whatever bytes come over the control socket, in whatever pieces, reading them gives JSON or a refusal."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.appending import draft
from eventstore.errors import InvalidRequest
from eventstore.record import NewEvent
from manager import commands as do
from manager import messages
from manager.decide import decide
from manager.requests import launch_request, parse_spec
from manager.spec import AgentSpec
from tests.fuzz.hostile import distorted, examples, values
from tests.support.tally import Tally

MOST_BYTES = 100


class Pieces:
    """What a socket would give: these pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, most: int) -> bytes:
        """Of the next piece that is not empty, as much as is asked for."""
        while self._pieces and not self._pieces[0]:
            del self._pieces[0]
        if not self._pieces:
            return b""
        given, self._pieces[0] = self._pieces[0][:most], self._pieces[0][most:]
        return given


def _read(pieces: list[bytes]) -> tuple[list[Any], bool]:
    """The messages, and whether what followed was refused."""
    found = []
    try:
        for message in messages.lines(Pieces([*pieces]), MOST_BYTES):  # type: ignore[arg-type]  # it has a socket's recv
            found.append(message)  # noqa: PERF402  those before a refusal count, too
    except InvalidRequest:
        return found, True
    return found, False


contents = (
    st.binary(max_size=300)
    | values.map(lambda value: json.dumps(value).encode() + b"\n")
    | st.lists(values, max_size=4).map(lambda many: b"\n".join(json.dumps(one).encode() for one in many))
    | st.sampled_from(
        [b"\n" * 50, b"[" * 99 + b"\n", b"9" * 99 + b"\n", b"NaN\n", b"\xff\xfe{\x00}\x00\n", b'"\\ud800"\n']
    )
)


@st.composite
def in_pieces(draw: st.DrawFn) -> list[bytes]:
    """Contents, cut anywhere."""
    content = draw(contents)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=6)))
    return [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]


@examples(300)
@given(in_pieces())
def test_any_bytes_in_any_pieces_are_messages_or_refused(tally: Tally, pieces: list[bytes]) -> None:
    """Where a stream is cut on its way does not change what is read, and no line is longer than is allowed."""
    tally("fuzz bytes of the control socket")
    whole = b"".join(pieces)
    found, is_refused = _read(pieces)
    assert repr((found, is_refused)) == repr(_read([whole]))  # by text: a NaN is not even itself
    complete = whole.split(b"\n")[:-1]
    assert len(found) <= len(complete)
    assert is_refused or (len(found) == len(complete) and whole[-1:] in (b"", b"\n"))
    assert all(len(line) <= MOST_BYTES for line in complete[: len(found)])


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_json_without_a_bottom_is_refused(deep: bytes) -> None:
    """Nested deeper than Python reads."""
    with pytest.raises(InvalidRequest):
        list(messages.lines(Pieces([deep, b"\n"]), None))  # type: ignore[arg-type]  # it has a socket's recv


SPEC = AgentSpec(command=("true",), env={"A": "b"}, labels={"k": "v"}).model_dump(mode="json")
SURROUNDINGS = {"env": {"A": "b"}, "cwd": "/", "umask": 0o22, "nofile": [64, 64]}
RESTARTS = {"mode": "always", "max_restarts": 3, "backoff_seconds": 1.0}


@examples(300)
@given(distorted([SPEC, {**SPEC, "restart": RESTARTS}]), distorted([SURROUNDINGS]))
def test_a_start_of_any_shape_is_a_launch_or_refused(
    tally: Tally, spec: object, surroundings: object
) -> None:
    """What is not refused can be recorded, and sent to a launcher."""
    tally("fuzz starts over the control socket")
    try:
        parsed = parse_spec(spec)
        request = launch_request(parsed, surroundings)
    except InvalidRequest:
        return
    assert json.dumps(request)
    digest = parsed.digest(b"key")
    spawn = do.Spawn(name="x", spec=parsed.recorded(), spec_digest=digest, directory="agents/x/1", boot_id="")
    for event in decide(None, spawn, 1):
        new = NewEvent(
            event=event,
            event_id=str(uuid.UUID(int=1)),
            occurred_at=1,
            actor="a",
            correlation_id="1",
            causation_id=None,
        )
        assert draft("agent/x", new)

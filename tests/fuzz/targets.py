"""What is fuzzed under the guidance of coverage: `python -m tests.fuzz.targets NAME [FILE | options of libFuzzer]`.

Each takes bytes, and raises for nothing but what a reader must never do with them. With a FILE it is given that alone.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["eventstore", "manager"]):
    from eventstore import codec
    from eventstore.errors import InvalidRequest, StoreDamaged
    from eventstore.events import EVENT_TYPES
    from eventstore.sqlite_file import path_of
    from manager import launching, messages
    from manager.cli import durations, options, specification
    from manager.process import attempt_dir, frames, record_shapes
    from manager.requests import launch_request, parse_spec

KINDS = sorted(EVENT_TYPES)
RECORDS = ("spec", "identity", "exec", "main", "exit", "sweep")
NOW = 1_700_000_000_000_000


def rows(content: bytes) -> None:
    """A row of the log: an event that can be written again, an unknown one that is kept, or damage."""
    given = atheris.FuzzedDataProvider(content)
    kind = KINDS[given.ConsumeIntInRange(0, len(KINDS) - 1)]
    version, text = given.ConsumeIntInRange(0, 3), given.ConsumeUnicode(10_000)
    with contextlib.suppress(StoreDamaged):
        event = codec.decode(kind, version, text)
        if isinstance(event, codec.UnknownEvent):
            assert (event.type, event.schema_version, event.data) == (kind, version, text)
        else:
            assert codec.decode(*codec.encode(event)) == event


def records(content: bytes) -> None:
    """A record of an attempt: as it was written, or damage; and what it says possible, or not."""
    with contextlib.suppress(ValueError):
        assert attempt_dir.encode(attempt_dir.decode(content)) == content
    body = _json(content)
    if isinstance(body, dict):
        for name in RECORDS:
            assert isinstance(record_shapes.problem(name, body, "agent/1"), str | None)


def control_frames(content: bytes) -> None:
    """Frames between a coordinator and its launcher."""
    buffer = bytearray(content)
    with contextlib.suppress(ValueError):
        while (found := frames.take_content(buffer)) is not None:
            frames.split_request(found)
            assert isinstance(frames.read_content(found), dict)


def requests(content: bytes) -> None:
    """Bytes over the control socket, in two pieces; what is JSON, as a spec and as the surroundings of a start."""
    pieces = iter([content[: len(content) // 2], content[len(content) // 2 :], b""])
    with contextlib.suppress(InvalidRequest):
        for message in messages.lines(_Pieces(pieces), 4096):  # type: ignore[arg-type]  # it has a socket's recv
            json.dumps(message)
    value = _json(content)
    with contextlib.suppress(InvalidRequest):
        spec = parse_spec(value)
        spec.digest(b"key")
        spec.recorded()
    with contextlib.suppress(InvalidRequest):
        json.dumps(launch_request(_SPEC, value))


def spec_files(content: bytes) -> None:
    """`spec.json` of an attempt that is to be started again, and files of variables."""
    body, place = _json(content), _directory()
    if isinstance(body, dict):
        told = {"attempt_dir": str(place), "token": "t", "env": {}, **body}
        with contextlib.suppress(ValueError):  # NaN, which no record holds
            (place / "spec.json").write_bytes(attempt_dir.encode(told))
    with contextlib.suppress(launching.SpecLost):
        request = launching.again(place)
        complete = launching.for_attempt(request, place, "agents/x/2", agent_id="x", name="x")
        assert frames.encode_request(complete)
    (place / "env").write_bytes(content)
    with contextlib.suppress(InvalidRequest):
        specification.read_env_file(str(place / "env"))


@functools.cache
def _directory() -> Path:
    place = Path(tempfile.mkdtemp(), "agents", "x", "1")
    atexit.register(shutil.rmtree, place.parents[2])
    place.mkdir(parents=True)
    return place


def typed(content: bytes) -> None:
    """Values of options, as people type them."""
    text = content.decode("utf-8", "surrogateescape")
    parsers: tuple[Callable[[str], Any], ...] = (
        durations.parse_duration,
        durations.parse_grace,
        options.parse_pair,
        options.parse_signal,
        lambda value: options.parse_moment(value, now=NOW),
        specification.parse_codes,
        specification.parse_restart,
        specification.parse_umask,
        path_of,
    )
    for parse in parsers:
        with contextlib.suppress(ValueError, InvalidRequest):
            parse(text)


class _Pieces:
    def __init__(self, pieces: Any) -> None:
        self._pieces = (piece for piece in pieces if piece)

    def recv(self, most: int) -> bytes:
        """The next piece, or the end."""
        return next(self._pieces, b"")[:most]


def _json(content: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(content)
    return None


_SPEC = parse_spec({"command": ["true"]})
TARGETS: dict[str, Callable[[bytes], None]] = {
    "rows": rows,
    "records": records,
    "frames": control_frames,
    "requests": requests,
    "specs": spec_files,
    "typed": typed,
}


def main() -> None:
    """Run one target until its time is over, or it fails."""
    _, name, *rest = sys.argv
    if len(rest) == 1 and Path(rest[0]).is_file():
        TARGETS[name](Path(rest[0]).read_bytes())
        return
    atheris.Setup([name, *rest], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

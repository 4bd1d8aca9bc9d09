"""A damaged record is unknown, never a wrong value."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager import statusfiles
from manager.output import NO_LINES, last_lines
from manager.process import record_lines
from manager.process.attempt_dir import (
    AttemptFiles,
    Damaged,
    Missing,
    decode,
    encode,
    encode_canonical,
    read_as,
    read_record,
)
from manager.process.attempt_lock import is_locked
from tests.support.states import STATES

_BODY: dict[str, Any] = {
    "attempt": "agent/1",
    "record": "exit",
    "kind": "code",
    "code": 7,
    "signal": None,
    "core": False,
    "errno": None,
    "phase": None,
    "message": "ä\u2028",
    "ended_at": 12,
    "started_boottime_ns": 1,
    "ended_boottime_ns": 2,
    "rusage": None,
    "oom_kills": None,
}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _place(tmp_path: Path) -> Path:
    """The directory of the attempt that `_BODY` names."""
    path = tmp_path / "agent" / "1"
    path.mkdir(parents=True)
    return path


def test_a_record_in_its_place_is_believed(tmp_path: Path) -> None:
    """What the damage below is done to is read back as it was written."""
    place = _place(tmp_path)
    (place / "exit.json").write_bytes(encode(_BODY))
    assert read_as("exit", str(place)) == _BODY


@pytest.mark.parametrize("place", ["agent/2/exit", "other/1/exit", "agent/1/main", "agent/1/sweep"])
def test_a_record_of_another_attempt_was_believed(tmp_path: Path, place: str) -> None:
    """An intact record that belongs to another attempt, or is of another kind, is Damaged where it lies."""
    path = tmp_path / f"{place}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(_BODY))
    assert isinstance(read_as(path.stem, str(path.parent)), Damaged)


@given(st.dictionaries(st.text(), _JSON, max_size=5))
def test_a_record_reads_back_as_it_was_written(body: dict[str, Any]) -> None:
    """Any JSON object survives writing and reading."""
    assert decode(encode(body)) == body


@pytest.mark.parametrize("inode", [None, 4_711])
@pytest.mark.parametrize("cgroup", [None, '/sys/fs/cgroup/a \\ "b"'])
def test_the_records_of_a_start_are_written_as_every_other(inode: int | None, cgroup: str | None) -> None:
    """The lines that a shim formats by hand are, byte for byte, what the encoder would write."""
    number = json.dumps(inode).encode()
    line = encode_canonical(
        record_lines.identity(
            7,
            (100, number),
            6,
            (99, number),
            attempt=b'"a/1"',
            place=(b"boot", 4),
            cgroup=json.dumps(cgroup).encode(),
            told=b'"token":"t","uid":0,"until":"main"',
        )
    )
    body = decode(line)
    assert [body[name] for name in ("pid", "pgid", "session", "start_ticks")] == [7, 7, 7, 100]
    assert [body[name] for name in ("shim_pid", "shim_start_ticks", "boot_id", "pid_namespace")] == [
        6,
        99,
        "boot",
        4,
    ]
    assert [body[name] for name in ("pidfd_inode", "shim_pidfd_inode", "cgroup")] == [inode, inode, cgroup]
    executed = decode(encode_canonical(record_lines.executed(b'"a/1"', 12)))
    told = {"errno": 0, "phase": None, "message": None, "confirmed_at": 12}
    assert executed == {"attempt": "a/1", "record": "exec", **told}


def test_every_flipped_bit_is_damage(tmp_path: Path) -> None:
    """One bit changed anywhere in an exit record makes it Damaged."""
    line = encode(_BODY)
    path = _place(tmp_path) / "exit.json"
    for position in range(len(line) * 8):
        changed = bytearray(line)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        assert isinstance(read_record(str(path)), Damaged), (position, changed)


def test_every_missing_or_added_byte_is_damage(tmp_path: Path) -> None:
    """A record cut at any byte, without any one byte, or with one more, is Damaged."""
    line = encode(_BODY)
    path = _place(tmp_path) / "exit.json"
    variants = [line[:end] for end in range(len(line))]
    variants += [line[:at] + line[at + 1 :] for at in range(len(line))]
    variants += [line[:at] + b" " + line[at:] for at in range(len(line) + 1)]
    for variant in variants:
        path.write_bytes(variant)
        assert isinstance(read_record(str(path)), Damaged), variant


@pytest.mark.parametrize(
    "content", [b"null\n", b"[]\n", b'{"body":1}\n', b'{"body":[],"crc32":"0"}\n', b"[" * 200_000, b"\xff"]
)
def test_other_content_is_damage(tmp_path: Path, content: bytes) -> None:
    """A file that never was a record is Damaged and raises nothing."""
    (tmp_path / "exit.json").write_bytes(content)
    assert isinstance(AttemptFiles(str(tmp_path)).exit, Damaged)


def test_a_link_or_a_directory_is_not_followed(tmp_path: Path) -> None:
    """A record is a plain file: a symbolic link to an intact one, a directory or a pipe is Damaged."""
    (tmp_path / "real").write_bytes(encode(_BODY))
    (tmp_path / "exit.json").symlink_to(tmp_path / "real")
    (tmp_path / "exec.json").mkdir()
    files = AttemptFiles(str(tmp_path))
    assert isinstance(files.exit, Damaged)
    assert isinstance(files.exec, Damaged)
    assert isinstance(files.main, Missing)


def test_a_linked_directory_was_written_through(tmp_path: Path) -> None:
    """A directory that became a link to another attempt's is neither read as output nor given a status file."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "stderr.log").write_text("not ours\n")
    (tmp_path / "agents").symlink_to(other)
    running = STATES["running"]
    assert running is not None
    statusfiles._write_files(tmp_path / "agents", "x", running)
    assert [path.name for path in other.iterdir()] == ["stderr.log"]
    assert last_lines(tmp_path / "agents", str) == NO_LINES


def test_a_file_with_a_second_name_was_written_to(tmp_path: Path) -> None:
    """Where `status.json` is a name of another attempt's file, that one stays as it is."""
    other = tmp_path / "other"
    other.write_text("not ours\n")
    (tmp_path / "status.json").hardlink_to(other)
    statusfiles.write_file(tmp_path / "status.json", "{}")
    assert other.read_text() == "not ours\n"


def test_nothing_told_of_which_stream_the_last_lines_were(tmp_path: Path) -> None:
    """Those of stderr come first; an error on stdout is told from them."""
    (tmp_path / "stdout.log").write_text("to stdout\n")
    assert last_lines(tmp_path, str) == (("to stdout",), "stdout")
    (tmp_path / "stderr.log").write_text("to stderr\n")
    assert last_lines(tmp_path, str) == (("to stderr",), "stderr")


@pytest.mark.parametrize("name", ["lock", "stdout.log", "status.json", "exit.json"])
def test_a_pipe_in_a_files_place_held_up_its_reader(tmp_path: Path, name: str) -> None:
    """Nobody waits for the other end of a pipe that lies where a file of ours should be."""
    os.mkfifo(tmp_path / name)
    assert isinstance(read_record(str(tmp_path / "exit.json")), Damaged | Missing)
    assert is_locked(str(tmp_path)) is None
    assert last_lines(tmp_path, str) == NO_LINES
    with contextlib.suppress(OSError):
        statusfiles.write_file(tmp_path / "status.json", "{}")


def test_a_directory_that_was_never_made(tmp_path: Path) -> None:
    """Nothing there is Missing, not Damaged."""
    files = AttemptFiles(str(tmp_path / "none"))
    assert all(
        isinstance(record, Missing)
        for record in (files.spec, files.identity, files.exec, files.main, files.exit, files.sweep)
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_json_are_refused(number: float) -> None:
    """NaN and infinity cannot be recorded."""
    with pytest.raises(ValueError, match="JSON"):
        encode({"x": number})

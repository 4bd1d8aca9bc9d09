"""Checkpoints outside the database: when they are written, what they find, and what a torn line does."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import checkpoints
from eventstore.chain import EMPTY
from eventstore.checkpoints import Checkpoint, CheckpointFile, parse
from eventstore.errors import StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head
from eventstore.store import EventStore
from tests.faults.store_edits import forged
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import new, note

AT = 1_700_000_000_000_000
ONE = Checkpoint(Head(17, bytes(range(32)), AT), "home-1")

Append = Callable[..., EventStore]


@pytest.fixture
def append(database: Database, monkeypatch: pytest.MonkeyPatch) -> Append:
    """Append events to the log, opened with checkpoints every five events; closes it again."""
    monkeypatch.setattr(checkpoints, "EVERY_EVENTS", 5)

    def run(count: int, at: int = AT, *, is_closed: bool = True) -> EventStore:
        directory = database.path.parent
        file = CheckpointFile(directory / "checkpoints", home="home-1", key=None, clock=lambda: at)
        store = database.open(head=directory / "head", checkpoints=file)
        for _ in range(count):
            version = store.head().position
            store.append("x/1", [new(note())], expected_version=version, epoch=None)
        if is_closed:
            store.close()
        return store

    return run


def _positions(database: Database) -> list[int]:
    lines = database.path.with_name("checkpoints").read_text().splitlines()
    return [found.head.position for line in lines if (found := parse(line))]


def _fit_head(database: Database) -> None:
    with closing(Reader.open(database.url)) as reader:
        HeadFile(database.path.with_name("head")).replace(reader.head())


def test_a_line_says_all_of_it() -> None:
    """What is written is read, and what is signed is as documented."""
    line = json.dumps(ONE.as_json())
    assert parse(line) == ONE
    time = "2023-11-14T22:13:20.000000Z"
    assert ONE.as_json()["time"] == time
    wanted = f"outlive.checkpoint/1\n17\n{bytes(range(32)).hex()}\n{time}\nhome-1\n"
    assert ONE.message == wanted.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "outlive.checkpoint/2"},
        {"position": 0},
        {"position": 2**63},
        {"position": "17"},
        {"hash": "00"},
        {"time": "2023-11-14"},
        {"time": 5},
        {"home": None},
        {"key": 7},
    ],
    ids=str,
)
def test_a_line_that_is_none(change: dict[str, object]) -> None:
    """Whatever is not a checkpoint is passed over."""
    assert parse(json.dumps(ONE.as_json() | change)) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"\0" * 9])
def test_a_torn_line_is_none(line: bytes) -> None:
    """Nor is one that was torn, or anything else."""
    assert parse(line) is None


def test_they_come_with_events_with_time_and_at_the_end(database: Database, append: Append) -> None:
    """Every five events here, after a minute in which the log grew, and when it is closed; never twice for one head."""
    append(12)
    assert _positions(database) == [5, 10, 12]
    append(0)
    assert _positions(database) == [5, 10, 12]
    store = append(1, is_closed=False)
    store.checkpoint_when_due()
    assert _positions(database) == [5, 10, 12]
    store.close()
    times = [AT, AT + checkpoints.EVERY_MICROSECONDS]
    store = append(0, is_closed=False)
    file = CheckpointFile(
        database.path.with_name("checkpoints"), home="home-1", key=None, clock=lambda: times[0]
    )
    file.go_on_from(Checkpoint(Head(13, bytes(32), AT), "home-1"))
    file.note(Head(14, bytes(32), AT))
    del times[0]
    file.note(Head(15, bytes(32), AT))
    assert _positions(database) == [5, 10, 12, 13, 15]


@on_sqlite
@pytest.mark.parametrize("at", [1, 4, 5, 6, 9, 12])
def test_a_suffix_that_was_computed_anew(database: Database, append: Append, at: int) -> None:
    """All its hashes are right, and the head beside it was made to fit: the first checkpoint after it tells."""
    append(12)
    forged(at)(database.path.parent)
    _fit_head(database)
    with pytest.raises(StoreDamaged, match="another log") as caught:
        append(0)
    assert caught.value.position == next(one for one in (5, 10, 12) if one >= at)


@on_sqlite
def test_an_older_copy_with_its_own_head(database: Database, append: Append) -> None:
    """Both files of an earlier moment fit each other; the checkpoints, kept elsewhere, do not fit them."""
    append(7)
    names = (database.path.name, "head")
    for name in names:
        shutil.copy(database.path.with_name(name), database.path.with_name(f"{name}.older"))
    append(6)
    for name in names:
        database.path.with_name(f"{name}.older").replace(database.path.with_name(name))
    with pytest.raises(StoreDamaged, match="it ends at 7, and the log had come to position 13") as caught:
        append(0)
    assert caught.value.position == 8


def test_a_torn_line_and_those_of_others_are_passed_over(database: Database, append: Append) -> None:
    """The next line begins anew after a torn one; another home's in the same file is no business of ours."""
    append(5)
    path = database.path.with_name("checkpoints")
    other = Checkpoint(Head(3, bytes(32), AT), "home-2")
    path.write_bytes(path.read_bytes() + json.dumps(other.as_json()).encode() + b"\n" + b'{"schema": "outl')
    append(5)
    assert _positions(database) == [5, 3, 10]
    assert path.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_only_the_owner_may_read_it(database: Database, append: Append, umask: int) -> None:
    """0600, whatever the umask."""
    before = os.umask(umask)
    try:
        append(1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(database.path.with_name("checkpoints").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_loses_no_event(database: Database, append: Append) -> None:
    """What stands in its place is damage to the next one that opens the log, and stops nobody who has it open."""
    store = append(5, is_closed=False)
    path = database.path.with_name("checkpoints")
    path.unlink()
    path.mkdir()
    store.append("x/1", [new(note())] * 1, expected_version=5, epoch=None)
    store.close()
    with pytest.raises(StoreDamaged, match="it is no file"):
        append(0)


def test_a_link_is_not_followed(database: Database, append: Append, tmp_path: Path) -> None:
    """Nothing is read or written through a link."""
    append(1)
    path = database.path.with_name("checkpoints")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreDamaged, match="symbolic link"):
        append(1)
    assert not (tmp_path / "elsewhere").exists()


def _cut_to(database: Database, count: int) -> None:
    path = database.path.with_name("checkpoints")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:count])) if count else path.unlink()


GONE = "up to position 12 were written and are gone"


@pytest.mark.parametrize("left", [0, 2])
def test_checkpoints_that_were_removed_went_unnoticed(database: Database, append: Append, left: int) -> None:
    """Each opening says so, also after more were written, until the file is back."""
    append(12)
    path = database.path.with_name("checkpoints")
    kept = path.read_bytes()
    _cut_to(database, left)
    for _ in range(2):
        with pytest.warns(UserWarning, match=GONE):
            append(6)
    path.write_bytes(kept + path.read_bytes())
    append(6)
    append(1)


@pytest.mark.parametrize("before", [0, 5])
def test_checkpoints_that_were_removed_under_a_coordinator(
    database: Database, append: Append, before: int
) -> None:
    """What it writes to the file that it makes then does not hide it, whether it had written some before or not."""
    append(12 - before)
    store = append(before, is_closed=False)
    if before:
        assert _positions(database)[-1] == 12
    _cut_to(database, 0)
    for version in range(12, 18):
        store.append("x/1", [new(note())], expected_version=version, epoch=None)
    store.close()
    assert _positions(database)
    with pytest.warns(UserWarning, match=GONE):
        append(0)


def test_many_lines_of_others_hide_no_checkpoint(database: Database, append: Append) -> None:
    """The last of ours counts although it is not among the newest lines of a file that homes share."""
    append(5)
    path = database.path.with_name("checkpoints")
    other = json.dumps(Checkpoint(Head(3, bytes(32), AT), "home-2").as_json()).encode() + b"\n"
    path.write_bytes(path.read_bytes() + other * 100)
    append(1)


def test_any_flipped_bit_of_what_is_known_of_them_is_noticed(tmp_path: Path) -> None:
    """Nothing is known then; never another position, nor another head."""
    file = HeadFile(tmp_path / "head")
    file.create()
    assert file.checkpointed() == 0
    file.remember_checkpoint(2**63 - 1)
    assert (file.checkpointed(), file.read()) == (2**63 - 1, EMPTY)
    content = file.path.read_bytes()
    for bit in range(160 * 8):
        spoilt = bytearray(content)
        spoilt[8192 + bit // 8] ^= 1 << bit % 8
        file.path.write_bytes(spoilt)
        assert (file.checkpointed(), file.read()) == (0, EMPTY), f"bit {bit}"

"""The head kept outside the database: a log that is shorter or another than it was is noticed when it is opened."""

import os
import shutil
import stat
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import trust
from eventstore.errors import StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.record import Head
from eventstore.store import EventStore
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import new, note


@pytest.fixture
def head(database: Database) -> Path:
    """Where the head is kept."""
    return database.path.with_name("head")


def _open(database: Database, head: Path) -> EventStore:
    return database.open(head=head)


def _append(store: EventStore, count: int = 1) -> None:
    for _ in range(count):
        version = store.head().position
        store.append("x/1", [new(note(str(version)))], expected_version=version, epoch=None)


def _close(database: Database) -> None:
    for store in database.opened:
        store.close()
    database.opened.clear()


def _files(database: Database) -> dict[str, bytes]:
    """What the files hold. A reader makes an empty WAL and its index."""
    found = {path.name: path.read_bytes() for path in database.path.parent.iterdir()}
    return {name: content for name, content in found.items() if content and not name.endswith("-shm")}


def test_it_follows_every_append(database: Database, head: Path) -> None:
    """After each append the file says position, hash and time of the last event; two lines are written in turn."""
    store = _open(database, head)
    for position in range(1, 6):
        _append(store)
        assert HeadFile(head).read() == store.head()
        content = head.read_bytes()
        words = [content[slot : slot + 160].split() for slot in (0, 4096)]
        assert {int(word[1]) for word in words} == {position, position - 1}
        for tag, number, recorded_at, digest, checksum in words:  # as a stranger's program would read it
            text = b" ".join((tag, number, recorded_at, digest))
            assert (tag, int(checksum, 16)) == (b"outlive-head/1", zlib.crc32(text))
    assert stat.S_IMODE(head.stat().st_mode) == 0o600


def test_a_second_program_goes_on_with_it(database: Database, head: Path) -> None:
    """Whoever opens the log next takes over the file as it is, and the older line is the one that is written."""
    _append(_open(database, head), 3)
    _close(database)
    store = _open(database, head)
    before = head.read_bytes()
    _append(store)
    after = head.read_bytes()
    assert [before[slot : slot + 160] == after[slot : slot + 160] for slot in (0, 4096)].count(True) == 1
    assert HeadFile(head).read() == store.head()


CUT = "DELETE FROM events WHERE position > 3; UPDATE projections SET position = 3;"
ANOTHER = "UPDATE events SET hash = zeroblob(32) WHERE position = 5;"
CASES: dict[str, tuple[str, int, str]] = {
    "the tail is cut off": (CUT, 4, "tail missing"),
    "all rows are deleted": ("DELETE FROM events;", 1, "tail missing"),
    "a row is edited": ("UPDATE events SET actor = 'x' WHERE position = 2;", 2, "row changed"),
    "a row is deleted": ("DELETE FROM events WHERE position = 2;", 2, "row missing"),
    "the first row is deleted": ("DELETE FROM events WHERE position = 1;", 1, "row missing"),
    "the last hash is edited": (ANOTHER, 5, "row changed"),
    "a position is far off": ("UPDATE events SET position = 1000000 WHERE position = 5;", 5, "row missing"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_log_that_is_not_what_it_was_is_not_opened(database: Database, head: Path, case: str) -> None:
    """The error names the first bad position and what to do, and nothing is written, to no file."""
    script, position, problem = CASES[case]
    _append(_open(database, head), 5)
    _close(database)
    database.edit(script)
    before = _files(database)
    with pytest.raises(StoreDamaged, match=rf"from position {position} on .*{problem}") as caught:
        _open(database, head)
    assert caught.value.position == position
    assert _files(database) == before


@on_sqlite
def test_an_older_copy_that_was_put_back_is_not_opened(database: Database, head: Path) -> None:
    """A copy is whole in itself; only the head outside knows that the log had come further."""
    store = _open(database, head)
    _append(store, 3)
    _close(database)
    copy = database.path.with_name("copy")
    shutil.copy(database.path, copy)
    store = _open(database, head)
    _append(store, 2)
    _close(database)
    copy.replace(database.path)
    with pytest.raises(StoreDamaged, match="it ends at 3, and the log had come to position 5") as caught:
        _open(database, head)
    assert caught.value.position == 4


@on_sqlite
def test_a_log_that_was_cut_was_told_to_have_come_to_the_next_checkpoint(
    database: Database, head: Path
) -> None:
    """Of all that is known to have come after the cut, the furthest tells how much is missing."""
    store = _open(database, head)
    _append(store, 3)
    later = [Head(position, bytes(32), 9_000) for position in (4, 7)]
    with closing(store.reader()) as reader:
        cut = trust.contradicted(reader, reader.verify(), [reader.head(), *later])
    assert (cut.problem, cut.position, cut.checked) == ("tail missing", 4, 3)
    assert "had come to position 7" in cut.detail


@on_sqlite
def test_a_log_that_went_another_way_is_not_opened(database: Database, head: Path) -> None:
    """An older copy to which others have appended is as long as the log was, and still not the same."""
    _append(_open(database, head), 3)
    _close(database)
    shutil.copy(database.path, copy := database.path.with_name("copy"))
    _append(_open(database, head), 2)
    _close(database)
    copy.replace(database.path)
    _append(database.open(), 4)
    _close(database)
    with pytest.raises(StoreDamaged, match="another log"):
        _open(database, head)


@on_sqlite
@pytest.mark.parametrize("content", [None, b""], ids=["gone", "empty"])
def test_a_database_that_is_gone_is_not_made_anew(
    database: Database, head: Path, content: bytes | None
) -> None:
    """Where a log had been, a missing or empty file is damage, and no new log begins in its place."""
    _append(_open(database, head), 2)
    _close(database)
    database.path.unlink()
    if content is not None:
        database.path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="there is none, and it had come to position 2"):
        _open(database, head)
    assert (database.path.read_bytes() if database.path.exists() else None) == content


def test_a_missing_head_is_not_made_anew(database: Database, head: Path) -> None:
    """Deleting the file does not hide what was cut off: a log with events and no head is refused."""
    _append(_open(database, head), 2)
    _close(database)
    head.unlink()
    with pytest.raises(StoreDamaged, match="the file that says how far it had come is missing"):
        _open(database, head)
    assert not head.exists()


@pytest.mark.parametrize("torn", [0, 4096])
def test_a_torn_line_leaves_the_other(database: Database, head: Path, torn: int) -> None:
    """A write that was cut short by a power loss leaves an older head: the log opens, and the file is mended."""
    _append(_open(database, head), 4)
    _close(database)
    content = bytearray(head.read_bytes())
    content[torn + 20 : torn + 120] = bytes(100)
    head.write_bytes(content)
    store = _open(database, head)
    _append(store)
    assert HeadFile(head).read() == store.head()


def test_a_head_that_says_nothing_is_damage(database: Database, head: Path) -> None:
    """With both lines gone, or something else in its place, nobody knows how long the log was."""
    _append(_open(database, head), 1)
    _close(database)
    for content in (b"", bytes(8192)):
        head.write_bytes(content)
        with pytest.raises(StoreDamaged, match="neither of its two lines is whole"):
            _open(database, head)
    head.unlink()
    head.symlink_to(database.path.with_name("elsewhere"))
    with pytest.raises(StoreDamaged, match="symbolic link"):
        _open(database, head)
    head.unlink()
    head.mkdir()
    with pytest.raises(StoreDamaged, match="no file"):
        _open(database, head)


def test_any_flipped_bit_of_a_line_spoils_that_line(tmp_path: Path) -> None:
    """A damaged line never tells of another head."""
    path = tmp_path / "head"
    older, newer = Head(7, b"\x0b" * 32, 1), Head(8, b"\xab" * 32, 1_700_000_000_000_000)
    file = HeadFile(path)
    file.create(older)
    file.write(newer)
    file.close()
    content = path.read_bytes()
    newest = 0 if content.index(b" 8 ") < 4096 else 4096
    for bit in range(160 * 8):
        spoilt = bytearray(content)
        spoilt[newest + bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        assert HeadFile(path).read() == older, f"bit {bit}"


def test_a_head_that_is_behind_is_enough(database: Database, head: Path) -> None:
    """A kill between a commit and the head's write, or a power loss, leaves an older head: nothing is wrong then."""
    store = _open(database, head)
    _append(store, 2)
    behind = head.read_bytes()
    _append(store, 3)
    _close(database)
    head.write_bytes(behind)
    store = _open(database, head)
    assert store.head().position == 5
    _append(store)
    assert HeadFile(head).read() == store.head()


@pytest.mark.parametrize(
    "script", [CUT, "UPDATE events SET hash = zeroblob(32) WHERE position = 5;"], ids=["cut", "changed"]
)
def test_a_log_that_is_cut_while_it_is_open_takes_no_more(
    database: Database, head: Path, script: str
) -> None:
    """The next append looks at the end that it left, and is refused."""
    store = _open(database, head)
    _append(store, 5)
    database.edit(script)
    with pytest.raises(StoreDamaged, match="somebody changed it while it was open"):
        _append(store)


def test_an_unwritable_head_does_not_lose_an_event(database: Database, head: Path, tmp_path: Path) -> None:
    """When only the head cannot be written, the append has been made all the same."""
    store = _open(database, head)
    head.unlink()
    head.mkdir()
    _append(store, 2)
    assert store.head().position == 2


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_only_the_owner_may_read_it(database: Database, head: Path, umask: int) -> None:
    """0600, whatever the umask."""
    before = os.umask(umask)
    try:
        _append(_open(database, head))
    finally:
        os.umask(before)
    assert stat.S_IMODE(head.stat().st_mode) == 0o600


def test_damage_before_the_last_rows_is_found_by_verify(
    database: Database, head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An opening looks at a bounded number of rows; `verify` at all."""
    monkeypatch.setattr("eventstore.trust.CHECKED_ROWS", 3)
    _append(_open(database, head), 9)
    _close(database)
    database.edit("UPDATE events SET actor = 'x' WHERE position = 2;")
    store = _open(database, head)
    verdict = store.verify(known=HeadFile(head).read())
    assert (verdict.position, verdict.problem) == (2, "row changed")
    _close(database)
    database.edit("UPDATE events SET actor = 'x' WHERE position = 7;")
    with pytest.raises(StoreDamaged, match="from position 7 on"):
        _open(database, head)

"""The hash chain: the documented bytes, and what it notices."""

import hashlib
import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from eventstore import chain
from eventstore.record import Head, RecordedEvent

Row = tuple[Any, ...]


def _by_the_document(row: Row) -> bytes:
    """The leaf as a stranger would write it from the module's description."""
    preimage = b"\x00"
    for value in row[:16]:
        if value is None:
            preimage += b"\xff\xff\xff\xff"
            continue
        raw = struct.pack(">Q", value) if isinstance(value, int) else value
        preimage += struct.pack(">I", len(raw)) + raw
    return hashlib.sha256(preimage).digest()


def _chained(rows: Iterable[Row], previous: bytes) -> list[Row]:
    whole = []
    for row in rows:
        digest = hashlib.sha256(b"\x01" + previous + _by_the_document(row)).digest()
        whole.append((*row, previous, digest))
        previous = digest
    return whole


def _log(count: int) -> list[Row]:
    rows: list[Row] = []
    for position in range(1, count + 1):
        stream = b"agent/%d" % (position % 3)
        version = (position + 2) // 3
        attempt = None if position % 4 == 0 else position
        columns = (position, version, 1, 1, position * 10, position * 10, attempt)
        texts = (
            b"id-%d" % position,
            stream,
            b"RUNNING",
            b"home",
            b"host",
            b"me",
            b"c",
            None if position % 5 == 0 else b"id-%d" % (position - 1),
            b"{}" * position,
        )
        rows.append((*columns, *texts))
    return _chained(rows, bytes(32))


def test_the_leaf_is_as_documented() -> None:
    """Another program, written from the description alone, computes the same hashes."""
    for row in [*_log(5), (*_log(1)[0][:15], b"x" * 5000)]:
        assert chain.leaf(row) == _by_the_document(row)


def test_null_and_empty_differ() -> None:
    """No two rows share a preimage: an absent value is not an empty one, nor does text move between columns."""
    row = list(_log(1)[0][:16])
    leaves = set()
    for causation, correlation in [(None, b"ab"), (b"", b"ab"), (b"b", b"a"), (b"ab", b"")]:
        row[13], row[14] = correlation, causation
        leaves.add(chain.leaf(row))
    assert len(leaves) == 4


def test_an_untouched_log_is_intact() -> None:
    """All rows are counted and the head is the last row's; an empty log has come nowhere."""
    assert Head(0, bytes(32), 0) == chain.EMPTY
    nothing = chain.verify([])
    assert (nothing.is_intact, nothing.checked, nothing.head_position) == (True, 0, 0)
    assert chain.intact(0, bytes(32)) == nothing
    rows = _log(30)
    verdict = chain.verify(rows)
    assert (verdict.is_intact, verdict.checked, verdict.head_position) == (True, 30, 30)
    assert verdict.head_hash == rows[-1][17]


def test_a_part_can_be_verified_alone() -> None:
    """From any position, given the hash before it."""
    rows = _log(30)
    assert chain.verify(rows[10:], start=11, previous_hash=rows[9][17]).is_intact
    assert chain.verify(rows[10:], start=11, previous_hash=bytes(32)).problem == "previous hash"


@pytest.mark.parametrize("column", range(1, 18))
def test_a_change_in_any_column_is_noticed(column: int) -> None:
    """Whichever column of a row is edited, the row's position is named."""
    rows = _log(9)
    row = list(rows[4])
    value = row[column]
    row[column] = b"?" if value is None else value + (1 if isinstance(value, int) else b"!")
    rows[4] = tuple(row)
    verdict = chain.verify(rows)
    assert (verdict.is_intact, verdict.position, verdict.problem) == (False, 5, "row changed")
    assert verdict.checked == 4


def test_a_deleted_row_is_missing() -> None:
    """The first position that is not there is named."""
    rows = _log(9)
    del rows[4]
    verdict = chain.verify(rows)
    assert (verdict.position, verdict.problem) == (5, "row missing")


@pytest.mark.parametrize(("first", "second"), [(5, 8), (8, 5), (5, 1)])
def test_swapped_rows_are_out_of_order(first: int, second: int) -> None:
    """Two rows that changed places are told from rows that were edited; here the first is met."""
    rows = _log(9)
    rows[first - 1], rows[second - 1] = (first, *rows[second - 1][1:]), (second, *rows[first - 1][1:])
    begin = first if second < first else 1
    before = rows[begin - 2][17] if begin > 1 else bytes(32)
    verdict = chain.verify(rows[begin - 1 :], start=begin, previous_hash=before)
    assert (verdict.position, verdict.problem) == (first, "order")
    assert f"position {second}" in verdict.detail


def test_a_renumbered_gap_is_noticed() -> None:
    """A deletion hidden by renumbering all that follows is noticed at the first renumbered row."""
    rows = _log(9)
    del rows[4]
    rows = [(at, *row[1:]) for at, row in enumerate(rows, 1)]
    assert chain.verify(rows).position == 5


def test_a_foreign_history_does_not_follow() -> None:
    """A row that is whole but continues another log does not fit."""
    rows = _log(9)
    other = _chained([(*row[:12], b"someone", *row[13:16]) for row in rows], bytes(32))
    verdict = chain.verify([*rows[:4], *other[4:]])
    assert (verdict.position, verdict.problem) == (5, "previous hash")


@pytest.mark.parametrize(
    ("position", "column", "value", "detail"),
    [
        (5, 1, 7, "version 7 is not next in its stream"),
        (3, 1, 0, "version 0 is not next in its stream"),
        (5, 5, 1, "recorded before the row that precedes it"),
        (3, 5, 1, "recorded before the row that precedes it"),  # the first of its stream
    ],
)
def test_a_writer_that_breaks_the_order_is_noticed(
    position: int, column: int, value: int, detail: str
) -> None:
    """Even with right hashes: versions are dense in a stream and recorded times never go back."""
    rows = _log(9)
    row = list(rows[position - 1])
    row[column] = value
    row[17] = chain.link(row[16], chain.leaf(row))
    verdict = chain.verify([*rows[: position - 1], tuple(row)])
    assert (verdict.position, verdict.problem, verdict.detail) == (position, "order", detail)


@pytest.mark.parametrize("value", [None, "text", -1, 2**64])
def test_impossible_values_are_a_finding_not_a_crash(value: object) -> None:
    """A damaged column of the wrong kind is reported like any change."""
    rows = _log(3)
    rows[1] = (rows[1][0], value, *rows[1][2:])
    verdict = chain.verify(rows)
    assert (verdict.position, verdict.problem) == (2, "row changed")


@pytest.mark.parametrize("hashes", [(None, b"x"), ("text", b"x"), (b"x", None), (None, None)])
def test_impossible_hashes_are_a_finding_not_a_crash(hashes: tuple[object, object]) -> None:
    """As impossible values are."""
    rows = _log(3)
    rows[1] = (*rows[1][:16], *hashes)
    verdict = chain.verify(rows)
    assert (verdict.position, verdict.problem) == (2, "row changed")


def test_a_row_alone_is_held_against_its_own_hash() -> None:
    """Whole, edited, or with a value that no writer of ours can have put there."""
    values = _log(1)[0]
    texts = [value if value is None else value.decode() for value in values[7:16]]
    columns: dict[str, Any] = dict(zip(chain.ORDER, [*values[:7], *texts], strict=True))
    row = RecordedEvent(**columns, previous_hash=values[16], hash=values[17])
    assert chain.is_own_hash(row) is True
    assert chain.is_own_hash(row._replace(actor="you")) is False
    assert chain.is_own_hash(row._replace(version=-1)) is False


def _rehashed(rows: list[Row], changes: dict[int, tuple[int, Any]]) -> list[Row]:
    """The rows with one column each of some positions set to something else, and all hashes computed anew."""
    changed = []
    for row in rows:
        column, value = changes.get(row[0], (0, row[0]))
        changed.append((*row[:column], value, *row[column + 1 : 16]))
    return _chained(changed, bytes(32))


def _parts(rows: list[Row], *at: int) -> list[chain.Edges]:
    edges = []
    for begin, end in pairwise([0, *at, len(rows)]):
        before = rows[begin - 1][17] if begin else bytes(32)
        verdict, edge = chain.walk(rows[begin:end], start=begin + 1, previous_hash=before)
        assert verdict.is_intact
        edges.append(edge)
    return edges


@pytest.mark.parametrize("at", range(1, 30))
def test_parts_of_a_chain_fit(at: int) -> None:
    """Wherever a log is divided, its parts are good each and together."""
    assert chain.do_fit(_parts(_log(30), at)) is True
    assert chain.do_fit(_parts(_log(33), at, at + 3)) is True
    at_once = _rehashed(_log(30), {at + 1: (5, at * 10)})  # two rows of one moment
    assert chain.verify(at_once).is_intact
    assert chain.do_fit(_parts(at_once, at)) is True


@pytest.mark.parametrize("changes", [{5: (1, 7), 8: (1, 8)}, {5: (5, 1)}], ids=str)
def test_parts_that_break_the_order_do_not_fit(changes: dict[int, tuple[int, Any]]) -> None:
    """A version or a time that does not follow those of an earlier part is noticed although each part is good."""
    assert chain.do_fit(_parts(_rehashed(_log(8), changes), 4)) is False


def test_a_row_recorded_when_time_began_is_the_first_all_the_same() -> None:
    """Its time is what a part before it is held against, though it is 0."""
    rows = _rehashed(_log(3), {1: (5, 0)})
    verdict, edges = chain.walk(rows)
    assert verdict.is_intact
    assert edges.first_recorded_at == 0


def test_long_texts_are_hashed_as_documented() -> None:
    """A text that is longer than any that is written by us, as damage leaves it."""
    for size in (1023, 1024, 70_000):
        row = _log(4)[3]
        row = (*row[:12], b"x" * size, *row[13:])
        assert chain.leaf(row) == _by_the_document(row)
        rows = _rehashed(_log(5), {4: (12, b"x" * size)})
        assert chain.verify(rows).is_intact
        rows[3] = (*rows[3][:15], None, *rows[3][16:])
        assert chain.verify(rows).problem == "row changed"


def test_a_log_begins_with_the_first_version_of_a_stream() -> None:
    """A log whose beginning was cut off and whose rest was computed anew; a part of one may begin anywhere."""
    rows = _log(30)
    later = _chained([(number, *row[1:16]) for number, row in enumerate(rows[3:], start=1)], bytes(32))
    verdict = chain.verify(later)
    assert (verdict.position, verdict.problem) == (1, "order")
    assert chain.verify(rows[3:], start=4, previous_hash=rows[2][17]).is_intact


def test_what_else_can_be_said_of_a_log() -> None:
    """Whatever it is, it is no intact log, at the position after the last good row."""
    good = chain.verify(_log(7))
    for verdict, problem in (
        (chain.unreadable(good, "a page is gone"), "unreadable"),
        (chain.without_evidence(good, "the file is gone"), "head unknown"),
    ):
        assert (verdict.is_intact, verdict.position, verdict.problem) == (False, 8, problem)
        assert (verdict.checked, verdict.head_position, verdict.head_hash) == (7, 7, good.head_hash)
    gone = chain.missing(5)
    assert (gone.is_intact, gone.position, gone.problem) == (False, 5, "row missing")
    assert (gone.checked, gone.head_position) == (0, 4)


def test_a_log_is_held_against_what_it_was_known_to_be() -> None:
    """Cut off: bad from where it ends. Another one: no row counts as checked beyond those that others vouch for."""
    rows = _log(9)
    good, hashes = chain.verify(rows), {row[0]: row[17] for row in rows}
    for known, found in ((Head(0, bytes(32), 0), None), (Head(5, hashes[5], 50), hashes[5])):
        assert chain.compare(good, known, found).is_intact
    cut = chain.compare(good, Head(12, bytes(32), 120), None)
    assert (cut.position, cut.problem, cut.checked) == (10, "tail missing", 9)
    for agreed in (0, 4):
        other = chain.compare(good, Head(7, bytes(32), 70), hashes[7], agreed=agreed)
        assert (other.is_intact, other.position, other.problem) == (False, 7, "another log")
        assert other.checked == agreed
    assert chain.compare(good, Head(7, bytes(32), 70), hashes[7]).checked == 0
    # Without a row in a log that goes on beyond it: other than it was, not shorter.
    assert chain.compare(good, Head(7, bytes(32), 70), None).problem == "another log"
    last = chain.verify(rows[3:], start=4, previous_hash=rows[2][17])
    assert chain.compare(last, Head(7, bytes(32), 70), hashes[7], agreed=4).checked == 1

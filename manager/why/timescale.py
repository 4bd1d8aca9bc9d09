"""Time along a picture: where an instant is drawn, what idle time is left out, and ticks that people can read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS, _S, _M, _H, _D = 1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_STEPS = (
    *(n * _MS for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * _S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _M for n in (1, 2, 5, 10, 15, 30)),
    *(n * _H for n in (1, 2, 3, 6, 12)),
    *(n * _D for n in (1, 2, 7, 14, 30, 90, 365, 3650)),
)  # fmt: skip
LEAST_SPAN = 10 * _MS
CUT_WIDTH = 30.0
CHARACTER = 6.3  # pixels, about, of the font of labels
IDLE_SHARE = 0.4  # of the time that is drawn: a longer stretch without a process is cut out


class Piece(NamedTuple):
    """A stretch of time that is drawn to scale, from x `left` to `right`."""

    start: int
    end: int
    left: float
    right: float


class Tick(NamedTuple):
    """A labelled instant on the axis; the label reaches from `left` to `right`."""

    x: float
    label: str
    left: float
    right: float


class TimeScale:
    """Instants to x, in one or more pieces; what lies between two pieces was idle, and is cut out."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = tuple(pieces)

    @classmethod
    def of(
        cls, start: int, end: int, idle: Sequence[tuple[int, int]], *, left: float, right: float
    ) -> TimeScale:
        """The window from `start` to `end`, without those stretches of `idle` that would take most of the room."""
        end = max(end, start + LEAST_SPAN)
        cuts: list[tuple[int, int]] = []
        for begin, until in sorted(idle, key=lambda stretch: stretch[0] - stretch[1]):
            drawn = end - start - sum(b - a for a, b in cuts)
            rest = drawn - (until - begin)
            if rest > 0 and until - begin > IDLE_SHARE * drawn:
                margin = max(1, min(until - begin, rest) // 20)  # some of it stays, on both sides
                cuts.append((begin + margin, until - margin))
        cuts.sort()
        edges = [start, *(edge for cut in cuts for edge in cut), end]
        spans = list(zip(edges[::2], edges[1::2], strict=True))
        room = right - left - CUT_WIDTH * len(cuts)
        total = sum(b - a for a, b in spans)
        pieces, x = [], left
        for a, b in spans:
            width = room * (b - a) / total
            pieces.append(Piece(a, b, x, x + width))
            x += width + CUT_WIDTH
        return cls(pieces)

    def x(self, at: int) -> float:
        """Where an instant is drawn; one that is cut out, in the middle of its cut."""
        before: Piece | None = None
        for piece in self.pieces:
            if at < piece.start:
                return piece.left if before is None else (before.right + piece.left) / 2
            if at <= piece.end:
                return piece.left + (at - piece.start) / (piece.end - piece.start) * (
                    piece.right - piece.left
                )
            before = piece
        return self.pieces[-1].right

    def drawn(self, left: float, right: float) -> Iterator[tuple[float, float]]:
        """The parts from x `left` to `right` that no cut lies over."""
        for piece in self.pieces:
            if max(left, piece.left) < min(right, piece.right):
                yield max(left, piece.left), min(right, piece.right)

    def cuts(self) -> Iterator[tuple[float, int]]:
        """The middle of each cut, and how much time it leaves out."""
        for one, other in zip(self.pieces, self.pieces[1:], strict=False):
            yield (one.right + other.left) / 2, other.start - one.end

    def ticks(self, zone: tzinfo | None) -> list[Tick]:
        """Round times, far enough from each other for their labels."""
        found: list[Tick] = []
        day = ""
        for piece in self.pieces:
            step = _step(piece)
            for at in _round_times(piece, step, zone):
                label, today = _label(at, step, zone), _label(at, _D, zone)
                tick = self._tick(at, label if today == day or step >= _D else f"{today} {label}")
                if not found or tick.left > found[-1].right + CHARACTER:
                    found.append(tick)
                    day = today
        return found

    def _tick(self, at: int, text: str) -> Tick:
        x, wide = self.x(at), len(text) * CHARACTER
        left = min(max(x - wide / 2, 0.0), self.pieces[-1].right - wide)
        return Tick(x, text, left, left + wide)


def _step(piece: Piece) -> int:
    width = piece.right - piece.left
    for step in _STEPS:
        characters = len(_label(piece.start, step, UTC))
        if width * step / (piece.end - piece.start) >= (characters + 2) * CHARACTER:
            return step
    return _STEPS[-1]


def _round_times(piece: Piece, step: int, zone: tzinfo | None) -> Iterator[int]:
    offset = _moment(piece.start, zone).utcoffset() or timedelta()
    shift = (offset.days * 86_400 + offset.seconds) * _S
    at = -(-(piece.start + shift) // step) * step - shift
    while at <= piece.end:
        yield at
        at += step


def _label(at: int, step: int, zone: tzinfo | None) -> str:
    moment = _moment(at, zone)
    if step >= 365 * _D:
        return f"{moment:%Y}"
    if step >= 30 * _D:
        return f"{moment:%b %Y}"
    if step >= _D:
        return f"{moment.day} {moment:%b}"
    if step >= _M:
        return f"{moment:%H:%M}"
    if step >= _S:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _moment(at: int, zone: tzinfo | None) -> datetime:
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone)

"""A life as an SVG picture: one lane below the other, the same time above each other. Pure; colours are the page's.

Every text passes through `element`, which escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from html import escape
from typing import NamedTuple

from manager.cli.sanitize import one_line
from manager.why.lanes import Band, Life, Mark, Points
from manager.why.timescale import CHARACTER, TimeScale
from projections.quantities import duration_text, size_text

GUTTER = 104  # for the names of lanes, where there is room beside them
NARROW = 480  # below this width the names stand above the lanes
BOLD = 7.0  # pixels, about, of a character on a band
LEAST_WIDTH = 3.0  # of a band
SECOND = 1_000_000


class Lane(NamedTuple):
    """A lane's name, its height, and what is in it: drawn at y 0."""

    name: str
    height: float
    shapes: tuple[str, ...]


def element(name: str, /, text: str = "", *children: str, **attributes: object) -> str:
    """`<name …>text children</name>`, all of it escaped except the children, which are elements."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
    )
    inside = escape(one_line(text)) + "".join(children)
    return f"<{name}{words}>{inside}</{name}>" if inside else f"<{name}{words}/>"


def picture(life: Life, *, width: int, zone: tzinfo | None, label: str) -> str:
    """The picture, `width` units wide, as tall as it has lanes."""
    is_narrow = width < NARROW
    left, right = (1.0 if is_narrow else float(GUTTER)), width - 1.0
    scale = TimeScale.of(life.start, life.end, _idle(life), left=left, right=right)
    y, shapes = 4.0, list[str]()
    for lane in _lanes(life, scale):
        if is_narrow:
            shapes.append(element("text", lane.name, x=left, y=y + 10, class_="name"))
            y += 15
        else:
            shapes.append(
                element(
                    "text",
                    lane.name,
                    x=left - 10,
                    y=y + lane.height / 2 + 4,
                    class_="name",
                    text_anchor="end",
                )
            )
        shapes.append(
            element("rect", x=left, y=y, width=right - left, height=lane.height, class_="lane", rx=2)
        )
        shapes.append(element("g", "", *lane.shapes, transform=f"translate(0 {_number(y)})"))
        y += lane.height + 8
    grid, axis = _axis(scale, y, zone)
    height = y + 22
    return element(
        "svg",
        "",
        element("title", label),
        *grid,
        *shapes,
        *axis,
        viewBox=f"0 0 {width} {_number(height)}",
        width=width,
        height=height,
        role="img",
        class_="life",
    )


def _idle(life: Life) -> list[tuple[int, int]]:
    """Stretches in which no process of the agent was there."""
    found, at = [], life.start
    for band in life.attempts:
        if band.start > at:
            found.append((at, band.start))
        at = max(at, band.end)
    if life.end > at:
        found.append((at, life.end))
    return found


def _lanes(life: Life, scale: TimeScale) -> Iterator[Lane]:
    yield Lane("attempts", 18, _bands(life.attempts, scale, 18))
    yield Lane("state", 22, _bands(life.states, scale, 22))
    if life.stops:
        yield Lane("stop", 18, _bands(life.stops, scale, 18))
    if life.signals:
        yield Lane("signals", 30, tuple(_marks(life.signals, scale)))
    if life.health:
        yield Lane("health", 18, _bands(life.health, scale, 18))
    for name, runs, unit in (("memory", life.memory, _size), ("CPU", life.cpu, _percent)):
        if runs:
            yield Lane(name, 56, tuple(_lines(runs, scale, 56, name.lower(), unit)))
    if life.coordinators:
        yield Lane("coordinator", 14, _bands(life.coordinators, scale, 14))


def _bands(bands: Sequence[Band], scale: TimeScale, height: float) -> tuple[str, ...]:
    shapes = []
    for band in bands:
        x, end = scale.x(band.start), scale.x(band.end)
        width = max(end - x, LEAST_WIDTH)
        shape = [
            element("title", band.title),
            element("rect", x=x, y=0, width=width, height=height, rx=2, class_=f"band {band.kind}"),
        ]
        shape += _label(band, list(scale.drawn(x, end)), height)
        shapes.append(element("g", "", *shape))
    return tuple(shapes)


def _label(band: Band, rooms: Sequence[tuple[float, float]], height: float) -> list[str]:
    """What the band says, where there is room for it: the longer text before the first place."""
    for text in (band.label, band.short):
        for left, right in rooms:
            if text and len(text) * BOLD + 8 < right - left:
                return [element("text", text, x=left + 5, y=height / 2 + 4, class_=f"on {band.kind}")]
    return []


def _marks(marks: Sequence[Mark], scale: TimeScale) -> Iterator[str]:
    """Triangles, their names beside them where two lines have room."""
    free = [0.0, 0.0]
    last = scale.pieces[-1].right
    for mark in sorted(marks, key=lambda one: one.at):
        x = scale.x(mark.at)
        kind = "ours" if mark.is_ours else "theirs"
        shape = [
            element("title", mark.title),
            element("path", d=f"M{_number(x)} 30 l-4 -8 h8 z", class_=f"mark {kind}"),
        ]
        wide = len(mark.label) * CHARACTER
        is_left = x + wide + 6 > last
        begin = x - wide - 6 if is_left else x
        row = next((row for row in (0, 1) if begin >= free[row]), None)
        if row is not None:
            anchor = {"text_anchor": "end"} if is_left else {}
            y = 21 - row * 11
            shape.append(element("path", d=f"M{_number(x)} {y - 8} V24", class_=f"stem {kind}"))
            shape.append(
                element(
                    "text", mark.label, x=x + (-4 if is_left else 4), y=y, class_=f"label {kind}", **anchor
                )
            )
            free[row] = begin + wide + 10
        yield element("g", "", *shape)


def _lines(
    runs: Sequence[Points], scale: TimeScale, height: float, kind: str, text_of: Callable[[float], str]
) -> Iterator[str]:
    most = max(value for run in runs for _, value in run)
    top, bottom = 14.0, height - 1
    for run in runs:
        points = _thinned([(scale.x(at), value) for at, value in run])
        path = [(x, bottom - (bottom - top) * (value / most if most else 0)) for x, value in points]
        if len(path) == 1:
            yield element("circle", cx=path[0][0], cy=path[0][1], r=2, class_=f"dot {kind}")
            continue
        text = " ".join(f"{_number(x)},{_number(y)}" for x, y in path)
        area = f"{_number(path[0][0])},{_number(bottom)} {text} {_number(path[-1][0])},{_number(bottom)}"
        yield element("polygon", points=area, class_=f"area {kind}")
        yield element("polyline", points=text, class_=f"line {kind}")
    yield element("text", f"{text_of(most)} at most", x=scale.pieces[0].left + 5, y=11, class_=f"most {kind}")


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """One point a unit of width, the highest: a peak must not go lost."""
    kept: list[tuple[float, float]] = []
    for x, value in points:
        if kept and int(kept[-1][0]) == int(x):
            if value > kept[-1][1]:
                kept[-1] = (x, value)
        else:
            kept.append((x, value))
    return kept


def _axis(scale: TimeScale, y: float, zone: tzinfo | None) -> tuple[list[str], list[str]]:
    grid, axis = [], []
    for tick in scale.ticks(zone):
        grid.append(element("path", d=f"M{_number(tick.x)} 0 V{_number(y)}", class_="grid"))
        middle = (tick.left + tick.right) / 2
        axis.append(element("text", tick.label, x=middle, y=y + 12, class_="tick", text_anchor="middle"))
    for x, left_out in scale.cuts():
        text = f"{duration_text(left_out / SECOND)} left out, in which nothing of it ran"
        axis.append(
            element(
                "g",
                "",
                element("title", text),
                element("rect", x=x - 9, y=0, width=18, height=y, class_="cut"),
                element(
                    "path",
                    d=f"M{_number(x - 3)} 0 V{_number(y)} M{_number(x + 3)} 0 V{_number(y)}",
                    class_="break",
                ),
            )
        )
    return grid, axis


def _size(value: float) -> str:
    return size_text(round(value))


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)

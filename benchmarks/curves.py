"""Curves over a logarithmic axis as one SVG file, in the style of the charts of `outlive report`."""

import math
from collections.abc import Callable, Mapping, Sequence

from manager.cli.charts import STYLE, nice_step
from manager.why.drawing import element

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 90, 690, 64, 290
COLOURS = ("#2f6f9f", "#b35900", "#4c8c4a")  # each dark enough on white, light enough on black


def curves(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    axes: tuple[str, str],
    text: Callable[[float], str],
) -> str:
    """The SVG document. `lines`: points (x above 0, y) by name; `axes`: names of x and y; `text` shows a y."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    step = nice_step(max(y for points in lines.values() for _, y in points))
    most = step * math.ceil(max(y for points in lines.values() for _, y in points) / step)
    reach = math.log(xs[-1] / xs[0]) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * math.log(x / xs[0]) / reach, BOTTOM - (BOTTOM - TOP) * y / most

    grid = [
        shape
        for number in range(round(most / step) + 1)
        for shape in _level(at(xs[0], number * step)[1], text(number * step))
    ]
    ticks = [
        element("text", f"{x:,.0f}", x=at(x, 0)[0], y=BOTTOM + 18, class_="tick", text_anchor="middle")
        for x in xs
    ]
    drawn = [
        shape
        for number, (name, points) in enumerate(lines.items())
        for shape in _line(name, [at(*point) for point in points], number)
    ]
    return element(
        "svg", "",
        f"<style>{STYLE}\n</style>",
        element("rect", class_="page", width=WIDTH, height=HEIGHT),
        element("text", title, class_="title", x=16, y=28),
        element("text", axes[1], class_="note", x=16, y=48),
        element("text", axes[0], class_="note", x=(LEFT + RIGHT) / 2, y=BOTTOM + 42, text_anchor="middle"),
        *grid, *ticks, *drawn,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT,
        role="img", aria_label=title,
    ) + "\n"  # fmt: skip


def _level(y: float, label: str) -> list[str]:
    return [
        element("line", class_="line", x1=LEFT, x2=RIGHT, y1=y, y2=y),
        element("text", label, class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"),
    ]


def _line(name: str, points: Sequence[tuple[float, float]], number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    top = BOTTOM + 62
    return [
        element("polyline", points=path, fill="none", stroke=colour, stroke_width=2),
        *(element("circle", cx=x, cy=y, r=3, fill=colour) for x, y in points),
        element("rect", x=LEFT + 220 * number, y=top - 9, width=10, height=10, fill=colour),
        element("text", name, x=LEFT + 220 * number + 16, y=top),
    ]

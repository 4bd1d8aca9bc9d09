"""A bar chart as one SVG file: no script, no font and no style from elsewhere, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple
from unicodedata import east_asian_width

from manager.cli import sanitize

_LABEL_WIDTH, _BARS_WIDTH, _VALUE_WIDTH = 240, 480, 110
_TOP, _STEP, _BAR, _BOTTOM = 64, 26, 18, 56
_LABEL_CHARACTERS = 32
_TICKS = 5
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-size: 17px; font-weight: 600 } .note, .tick { fill: #57606a; font-size: 12px }
    .page { fill: #ffffff } .bar { fill: #2f6f9f } .line { stroke: #d0d7de }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .note, .tick { fill: #9da7b1 }
      .page { fill: #0d1117 } .bar { fill: #58a6ff } .line { stroke: #30363d }
    }"""


class Bar(NamedTuple):
    """What a bar stands for, and how long it is; None where there is no figure."""

    label: str
    value: float | None


def bar_chart(title: str, bars: Sequence[Bar], *, axis: str, note: str, text: Callable[[float], str]) -> str:
    """The SVG document. `axis` names the figure, `text` shows one of its values; all texts are made harmless."""
    most = max((bar.value for bar in bars if bar.value is not None), default=0.0)
    step = nice_step(most)
    end = step * max(1, math.ceil(most / step))
    width = _LABEL_WIDTH + _BARS_WIDTH + _VALUE_WIDTH
    bottom = _TOP + _STEP * max(1, len(bars))
    height = bottom + _BOTTOM
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_safe(title)}">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="title" x="16" y="28">{_safe(title)}</text>',
        f'<text class="note" x="16" y="48">{_safe(note)}</text>',
        *_axis(end, step, bottom, axis, text),
        *(line for number, bar in enumerate(bars) for line in _bar(number, bar, end, text)),
    ]
    if not bars:
        parts.append(f'<text x="{_LABEL_WIDTH}" y="{_TOP + _BAR}">nothing in this period</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(number: int, bar: Bar, end: float, text: Callable[[float], str]) -> list[str]:
    top = _TOP + _STEP * number
    middle = top + _BAR - 5
    length = 0.0 if bar.value is None else max(0.0, bar.value / end * _BARS_WIDTH)
    shown = "-" if bar.value is None else text(bar.value)
    name = f"{escape(_fitting(sanitize.one_line(bar.label)))}<title>{_safe(bar.label)}</title>"
    return [
        f'<text x="{_LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{name}</text>',
        f'<rect class="bar" x="{_LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
        f'<text x="{_LABEL_WIDTH + length + 6:.1f}" y="{middle}">{_safe(shown)}</text>',
    ]


def _axis(end: float, step: float, bottom: int, name: str, text: Callable[[float], str]) -> list[str]:
    parts = []
    for tick in range(round(end / step) + 1):
        x = _LABEL_WIDTH + tick * step / end * _BARS_WIDTH
        parts += [
            f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>',
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_safe(text(tick * step))}</text>',
        ]
    middle = _LABEL_WIDTH + _BARS_WIDTH / 2
    return [
        *parts,
        f'<text class="note" x="{middle}" y="{bottom + 38}" text-anchor="middle">{_safe(name)}</text>',
    ]


def nice_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, of which some `_TICKS` reach `most`."""
    if most <= 0:
        return 1.0
    rough = most / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _fitting(label: str) -> str:
    """As much of it as there is room for; letters of East Asia and signs take twice as much."""
    room = _LABEL_CHARACTERS
    for length, letter in enumerate(label):
        room -= 2 if east_asian_width(letter) in "WFA" else 1
        if room < 0:
            return f"{label[: length - 1]}…"
    return label


def _safe(text: str) -> str:
    return escape(sanitize.one_line(text))

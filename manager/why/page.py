"""A post-mortem as one HTML file: no script, nothing that is loaded, readable on a telephone, in the dark and on paper.

Whatever is printed is made harmless first (`finalize`) and escaped then (`autoescape`); the file's own policy forbids
scripts and requests, should that ever fail.
"""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from manager.cli import sanitize
from manager.why import words
from manager.why.drawing import picture
from manager.why.lanes import Life
from manager.why.material import Entry
from manager.why.model import PostMortem
from projections.quantities import duration_text, size_text
from projections.sentences import exit_text, sentence

WIDTHS = (("wide", 1032), ("middle", 656), ("narrow", 328))
HEADING_CHARACTERS = 240  # the whole of a long error line stands below
SECOND = 1_000_000
SHORT_SHARE = 0.06  # of an attempt: a stop that took less of it is drawn once more, by itself
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """An event in the timeline."""

    position: int
    when: str
    after: str
    what: str
    type: str
    actor: str
    is_home: bool


class Picture(NamedTuple):
    """The same window of a life, drawn for each width."""

    caption: str
    drawings: tuple[tuple[str, Markup], ...]


def page(found: PostMortem, life: Life, *, zone: tzinfo | None, made_at: int) -> str:
    """The whole file. `life` is that of all attempts; `made_at`, when it was asked for; `zone` (None: the local one) is
    that of the times that are shown.
    """
    style = files("manager.why").joinpath("templates/style.css").read_text("utf-8")
    environment = Environment(
        loader=PackageLoader("manager.why"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def when(at: int) -> str:
        return _when(at, zone)

    rows = _rows(found, zone)
    environment.filters |= {"when": when, "duration": duration_text, "size": size_text}
    return environment.get_template("post_mortem.html.j2").render(
        found=found,
        style=Markup(style),  # noqa: S704 (our own file)
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
        summary=_shortened(words.summary(found)),
        title=words.title(found),
        cause=found.verdict.cause,
        exit="" if found.verdict.exit is None else exit_text(found.verdict.exit),
        asked=[(one, words.asked_text(one)) for one in found.asked],
        command=shlex.join(found.command),
        attempts=life.attempts,
        pictures=list(_pictures(found, life, zone)),
        rows=rows,
        shown={row.position for row in rows},
        trend=[] if found.trend is None else words.trend_text(found.trend),
        left_over=None if found.left_over is None else words.left_over_text(found.left_over),
        followed=words.followed_text(found.followed) if found.is_over else None,
        is_wrong="" if found.proof.wrong is None else words.is_wrong(found.proof.wrong),
        ended=words.ended_text(found, when) if found.is_over else None,
        followed_rows=[_row(entry, found, zone) for entry in found.followed.entries],
        alike=None if found.alike is None else words.alike_text(found.alike),
        earlier=None if found.last_failure is None else words.earlier_text(found.last_failure),
        made_at=when(made_at),
        zone_name=_zone_name(made_at, zone),
    )


def _harmless(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else sanitize.output(value)


def _shortened(text: str) -> str:
    return text if len(text) <= HEADING_CHARACTERS else f"{text[:HEADING_CHARACTERS].rstrip()} …"


def _rows(found: PostMortem, zone: tzinfo | None) -> list[Row]:
    entries = sorted((*found.events, *found.home_events), key=lambda entry: entry.position)
    return [_row(entry, found, zone) for entry in entries]


def _row(entry: Entry, found: PostMortem, zone: tzinfo | None) -> Row:
    after = (entry.at - found.requested_at) / SECOND
    return Row(
        position=entry.position,
        when=_when(entry.at, zone),
        after=f"{after:+.3f}s"
        if abs(after) < 10
        else f"{'−' if after < 0 else '+'}{duration_text(abs(after))}",
        what=sentence(entry.type, entry.data),
        type=entry.type,
        actor=entry.row.actor,
        is_home=entry.row.attempt is None,
    )


def _pictures(found: PostMortem, life: Life, zone: tzinfo | None) -> Iterator[Picture]:
    """All attempts; the one that is told of; and how it was stopped, where that would be too small to see."""
    if found.attempts > 1:
        some = "all" if len(life.attempts) == found.attempts else f"{len(life.attempts)} of"
        yield _picture(f"{some} {found.attempts} attempts", life, zone)
    end = max(entry.at for entry in found.events) if found.is_over else life.end
    attempt = _window(life, found.requested_at, end)
    yield _picture(f"attempt {found.attempt}", attempt, zone)
    stops = [band for band in attempt.stops if band.start >= found.requested_at]
    if stops and stops[-1].end - stops[0].start < SHORT_SHARE * (end - found.requested_at):
        yield _picture("how it was stopped", _window(life, stops[0].start, stops[-1].end), zone)


def _window(life: Life, start: int, end: int) -> Life:
    margin = max((end - start) // 40, 2_000)
    return life.within(start - margin, end + margin)


def _picture(name: str, life: Life, zone: tzinfo | None) -> Picture:
    span = duration_text((life.end - life.start) / SECOND)
    caption = f"{name}: {span} from {_when(life.start, zone)}"
    drawings = []
    for size, width in WIDTHS:
        drawing = picture(life, width=width, zone=zone, label=caption)
        drawings.append((size, Markup(drawing)))  # noqa: S704 (`element` has escaped all of it)
    return Picture(caption, tuple(drawings))


def _when(at: int, zone: tzinfo | None) -> str:
    moment = (_EPOCH + timedelta(microseconds=at)).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def _zone_name(at: int, zone: tzinfo | None) -> str:
    moment = (_EPOCH + timedelta(microseconds=at)).astimezone(zone)
    return "UTC" if zone is UTC else f"{moment:%Z} ({moment.isoformat()[-6:]})"

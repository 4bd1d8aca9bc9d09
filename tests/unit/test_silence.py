"""Silence: since when an attempt has written nothing, whatever becomes of its files and of the clock on the wall."""

from __future__ import annotations

from typing import Any

import pytest

from manager.silence import (
    Heard,
    Look,
    OutputFile,
    allowed_text,
    heard_again,
    heard_first,
    last_output_text,
    too_silent,
)

NOW = 1_700_000_000_000_000
RAN = 100.0  # by the monotonic clock, at the first look


def _at(seconds: float, size: int = 5) -> OutputFile:
    """Last changed so many seconds after the first look, by the clock on the wall."""
    return OutputFile(size, NOW + round(seconds * 1e6))


def _look(*files: OutputFile | None, after: float = 0.0, wall_set: float = 0.0) -> Look:
    """So many seconds after the first look; the clock on the wall was set by `wall_set` since that."""
    return Look(files, RAN + after, NOW + round((after + wall_set) * 1e6))


FIRST: list[tuple[tuple[OutputFile | None, ...], float, float]] = [
    ((_at(-30), _at(-20)), -40, 20),  # the later of both files
    ((_at(-20), _at(-30)), -40, 20),
    ((_at(-30), _at(-30)), -10, 10),  # or the start of the attempt
    ((None, None), -10, 10),  # no file is no output
    ((None, _at(-5)), -10, 5),
    ((_at(-5), _at(3600)), -10, 0),  # the future counts as now
    ((_at(-7200), None), -7200, 7200),  # nobody was there meanwhile: as long as it was
]


@pytest.mark.parametrize(("files", "started", "silent"), FIRST)
def test_silence_by_the_first_look_of_a_coordinator(
    files: tuple[OutputFile | None, ...], started: float, silent: float
) -> None:
    """It counts from the later of its start and the last change of either file."""
    heard = heard_first(_look(*files), NOW + round(started * 1e6))
    assert heard.silent_seconds == pytest.approx(silent, rel=1e-9)


OLD = (_at(-5), _at(-50, 0))

AGAIN: list[tuple[tuple[OutputFile | None, ...], float, float]] = [
    (OLD, 0, 65),  # nothing new: 60 s more than the 5 s before
    (OLD, 3600, 65),  # whatever the clock on the wall says by then
    (OLD, -3600, 65),
    ((_at(20, 9), OLD[1]), 0, 40),  # it wrote 20 s after the first look
    ((OLD[0], _at(20, 9)), 0, 40),  # to stderr
    ((_at(20, 0), OLD[1]), 0, 40),  # it was truncated: a change
    ((_at(20), OLD[1]), 0, 40),  # written anew with the same size
    ((None, None), 0, 65),  # removed: no output
    (
        (_at(-9, 2), OLD[1]),
        0,
        60,
    ),  # replaced by an older file: not before the last look, when it was not there
    ((_at(7200, 9), OLD[1]), 0, 0),  # the future counts as now
    ((_at(20, 9), OLD[1]), 3600, 40),  # the clock was set forward after it wrote
    ((_at(3620, 9), OLD[1]), 3600, 0),  # … before it wrote: not known, and never longer than it was
    ((_at(20, 9), OLD[1]), -3600, 0),  # … back after it wrote
    ((_at(-3580, 9), OLD[1]), -3600, 40),  # … back before it wrote
]


@pytest.mark.parametrize(("files", "wall_set", "silent"), AGAIN)
def test_silence_by_a_further_look(
    files: tuple[OutputFile | None, ...], wall_set: float, silent: float
) -> None:
    """A minute after the first one; a clock that was set meanwhile never makes it longer than it was."""
    before = heard_first(_look(*OLD), NOW - 3_600_000_000)
    heard = heard_again(before, _look(*files, after=60, wall_set=wall_set))
    assert heard.silent_seconds == pytest.approx(silent, rel=1e-9)


def test_what_comes_back_after_its_removal_is_output() -> None:
    """A file that is made anew was written to."""
    before = heard_first(_look(None, None), NOW - 10_000_000)
    assert heard_again(before, _look(_at(50), None, after=60)).silent_seconds == pytest.approx(10)


@pytest.mark.parametrize(
    ("silent", "told"),
    [
        (599.9, None),
        (600.0, "it has written nothing for 10m00s, its limit is 10m00s"),
        (7200.0, "it has written nothing for 2h00m, its limit is 10m00s"),
    ],
)
def test_what_is_too_silent(silent: float, told: str | None) -> None:
    """As long as it may be is too long; both figures are told."""
    look = _look(None, None)
    assert too_silent(600.0, Heard(look, look.monotonic_seconds - silent)) == told


def test_the_last_output_in_words() -> None:
    """The later time of what holds something; an empty file holds nothing."""
    assert (
        last_output_text(_look(_at(-20), _at(-10, 0))) == "its last output was at 2023-11-14T22:13:00.000000Z"
    )
    assert last_output_text(_look(_at(-20, 0), None)) == "there is no output of it"


def test_the_rule_in_words() -> None:
    """By SPAWNING's data, whoever wrote them."""
    assert allowed_text({"spec": {"health": {"silence_seconds": 600.0}}}) == "10m00s of silence at most"
    unwritten: list[Any] = [None, {}, {"health": None}, {"health": 5}, {"health": {"silence_seconds": "5"}}]
    assert {allowed_text({"spec": spec}) for spec in unwritten} == {""}

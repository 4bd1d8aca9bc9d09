"""Each benchmark runs from beginning to end, and its figures are where the goals look for them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks import growth, idle, recovery, short, stubborn, verify
from benchmarks.standing import GOALS, Figure, Goal, number, section, tables_of

Main = Callable[[Sequence[str]], None]
CLEARS_AWAY = """
import sys, time
try:
    print("runs", file=sys.stderr, flush=True)
    time.sleep(60)
finally:
    time.sleep(0.6)
    print("cleared away", file=sys.stderr, flush=True)
"""
ONCE = "--rounds 1"
# What the goals want measured with many is told here with few.
RUNS: Mapping[str, tuple[Main, str, tuple[tuple[str, str], ...]]] = {
    "idle": (idle.main, f"{ONCE} --count 2 --seconds 0.1 --rest 0", (("Idle with 2 ", "Idle with 1000 "),)),
    "recovery": (
        recovery.main, f"{ONCE} --counts 2 --log-events 500",
        (("| 2 | its", "| 1000 | its"), ("| 2 | 500 and", "| 1000 | 1,000,000 and")),
    ),
    "short": (short.main, f"{ONCE} --count 3", ()),
    "stubborn": (stubborn.main, f"{ONCE} --count 2 --grace 1", (("Stopping 2 ", "Stopping 100 "),)),
    "verify": (verify.main, f"{ONCE} --count 1000 --peer-count 100", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_prints_the_figures_of_its_goals(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run with few of everything, it prints a table in which each of its goals finds its figure."""
    main, words, told_as = RUNS[name]
    main(words.split())
    text = capsys.readouterr().out
    for few, many in told_as:
        text = text.replace(few, many)
    tables = tables_of(text)
    goals = [goal for goal in GOALS if any(title.startswith(goal.ours.section) for title in tables)]
    assert goals, f"no goal looks for {list(tables)}"
    assert [goal.what for goal in goals if goal.ours.of(tables) is None] == []


def test_growth_is_measured_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each number of agents and each length of the log, and two pictures that the tables refer to."""
    growth.main(f"--most 10 --most-events 1000 --agents 2 {ONCE} --pictures {tmp_path}".split())
    text = capsys.readouterr().out
    tables = tables_of(text)
    assert [cells[0] for cells in tables["Growth: agents"].rows] == ["10"]
    assert [cells[0] for cells in tables["Growth: the log"].rows] == ["1,000"]
    for picture in ("growth-agents.svg", "growth-log.svg"):
        assert f"({picture})" in text
        assert "<polyline" in (tmp_path / picture).read_text()


def test_goals_are_judged_by_the_figures_of_the_run() -> None:
    """A time at most, a rate at least, a ratio of two rows; what a run left out is said to be not measured."""
    results = (
        "## Startings\n\n| manager | start all | runs a second |\n| --- | --- | --- |\n"
        "| ours 1.0 | 250.0 ms (240.0 ms to 1.00 s) | 1,200 (1 to 2) |\n| theirs | 0.20 s (0.10 s to 9.99 s) | - |\n"
    )
    tables = tables_of(results)
    start, theirs = Figure("Starting", ("ours",), "start all"), Figure("Starting", ("theirs",), "start all")
    rate, no_rate = (Figure("Starting", (name,), "runs a second") for name in ("ours", "theirs"))

    def judged(goal: Goal) -> tuple[str, str]:
        return goal.row(tables)[2:]

    assert judged(Goal(what="", aim="", bound=0.25, ours=start)) == ("250.0 ms", "reached")
    assert judged(Goal(what="", aim="", bound=0.2, ours=start)) == ("250.0 ms", "**not reached**")
    assert judged(Goal(what="", aim="", bound=1.25, ours=start, to=theirs)) == (
        "1.25 × (250.0 ms beside 0.20 s)",
        "reached",
    )
    assert judged(Goal(what="", aim="", bound=1200, ours=rate, is_rate=True)) == ("1,200", "reached")
    assert judged(Goal(what="", aim="", bound=1201, ours=rate, is_rate=True)) == ("1,200", "**not reached**")
    assert judged(Goal(what="", aim="", bound=1, ours=rate, to=no_rate)) == ("-", "not measured")
    assert judged(Goal(what="", aim="", bound=1, ours=Figure("Else", (), "x"))) == ("-", "not measured")


def test_figures_are_read_with_their_units() -> None:
    """Seconds, bytes, shares and plain numbers."""
    told = (
        "1.50 s",
        "12.3 ms (1 ms to 2 ms)",
        "20.0 µs",
        "500 KB",
        "0.300% (0.1% to 1%)",
        "2.05 ×",
        "1,554 (1 to 2)",
    )
    assert [number(cell) for cell in told] == pytest.approx([1.5, 0.0123, 20e-6, 512_000, 0.003, 2.05, 1554])


def test_the_standing_names_every_goal_and_the_reasons() -> None:
    """Also of a run that measured nothing: each goal has its line, and the kept text is at the end."""
    text = section("")
    assert text.count("not measured") == len(GOALS)
    assert "### Why not more" in text


def test_a_benchmark_that_is_interrupted_clears_away_before_all_ends() -> None:
    """^C goes to the whole group; the runner leaves no agents and no mount behind by killing what it runs."""
    program = (
        f"import sys; from benchmarks.__main__ import run; run([sys.executable, '-c', {CLEARS_AWAY!r}], {{}})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as runner:
        assert runner.stderr is not None
        assert runner.stderr.readline() == "runs\n"
        os.killpg(runner.pid, signal.SIGINT)
        assert "cleared away\n" in runner.stderr.readlines()

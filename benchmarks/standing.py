"""`python -m benchmarks.standing`: the goals held against the tables of a run, which are read from its results."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Section

HERE = Path(__file__).parent
RESULTS, REASONS = HERE / "results.md", HERE / "standing.md"
TITLE = "Where outlive stands"
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "KB": 1024.0, "%": 0.01, "×": 1.0, "": 1.0}
Tables = Mapping[str, "Table"]


class Table:
    """The headings of a section's table, and its rows: cells as they are printed."""

    def __init__(self, headings: Sequence[str]) -> None:
        self.headings = tuple(headings)
        self.rows: list[tuple[str, ...]] = []

    def cell(self, row: Sequence[str], heading: str) -> str | None:
        """Of the first row whose first cells are, or begin with the words of, `row`; an empty `row`: of the last."""
        found = [cells for cells in self.rows if all(map(_is_called, cells, row))]
        if not found or heading not in self.headings:
            return None
        return found[0 if row else -1][self.headings.index(heading)]


@dataclass(frozen=True, slots=True)
class Figure:
    """Where a figure is: a section, by how its title begins, a row, a column."""

    section: str
    row: tuple[str, ...]
    heading: str

    def of(self, tables: Tables) -> str | None:
        """The cell; None where it was not measured, or `-`."""
        table = next((table for title, table in tables.items() if title.startswith(self.section)), None)
        text = None if table is None else table.cell(self.row, self.heading)
        return None if text == "-" else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is aimed at: `ours`, or its ratio to another figure, at most (`is_rate`: at least) `bound`.

    `bound` is in seconds, bytes, shares of one core, events a second, or a multiple.
    """

    what: str
    aim: str
    bound: float
    ours: Figure
    to: Figure | None = None
    is_rate: bool = False

    def row(self, tables: Tables) -> tuple[str, str, str, str]:
        """What, aim, what was measured, and whether that is enough."""
        ours = self.ours.of(tables)
        to = None if self.to is None else self.to.of(tables)
        if ours is None or (self.to is not None and to is None):
            return self.what, self.aim, "-", "not measured"
        value, told = number(ours), _median(ours)
        if to is not None:
            value /= number(to)
            told = f"{value:.2f} × ({told} beside {_median(to)})"
        is_reached = value >= self.bound if self.is_rate else value <= self.bound
        return self.what, self.aim, told, "reached" if is_reached else "**not reached**"


def _goals() -> Iterator[Goal]:
    """All of them, in the order in which they are shown."""
    spawn, ours, s6 = "Starting and stopping 1000", ("outlive",), ("s6",)
    start, start_s6 = Figure(spawn, ours, "start all"), Figure(spawn, s6, "start all")
    on_tmpfs = Figure(spawn, ("outlive-tmpfs",), "start all")
    what = "1,000 agents started"
    yield Goal(what=what, aim="no slower than s6", bound=1.0, ours=start, to=start_s6)
    yield Goal(
        what=f"{what}, home on a tmpfs as s6's",
        aim="no slower than s6",
        bound=1.0,
        ours=on_tmpfs,
        to=start_s6,
    )
    yield Goal(what=what, aim="0.8 × s6's time", bound=0.8, ours=start, to=start_s6)
    short, supervisor = "Short runs", ("supervisor",)
    yield Goal(
        what="short runs a second", aim="1.25 × supervisor's", bound=1.25, is_rate=True,
        ours=Figure(short, ours, "runs a second"), to=Figure(short, supervisor, "runs a second"),
    )  # fmt: skip
    yield Goal(
        what="1,000 cooperative agents stopped", aim="1 s", bound=1.0, ours=Figure(spawn, ours, "stop all")
    )
    stubborn = Figure("Stopping 100 stubborn", ours, "stop all")
    yield Goal(what="100 stubborn agents stopped, 2 s of grace", aim="2.2 s", bound=2.2, ours=stubborn)
    exits, what = "An end becomes known", "an end noticed, durable and visible"
    yield Goal(what=what, aim="median 5 ms", bound=0.005, ours=Figure(exits, (), "median"))
    yield Goal(what=what, aim="99 % in 20 ms", bound=0.020, ours=Figure(exits, (), "99 %"))
    memory = Figure("Memory", ("together, for each agent",), "1000 agents")
    yield Goal(what="memory for each agent, everything", aim="500 KB", bound=500 * 1024, ours=memory)
    idle = Figure("Idle with 1000", ours, "of one core")
    yield Goal(what="idle with 1,000 agents", aim="0.3 % of a core", bound=0.003, ours=idle)
    sweep = Figure("Looking at all agents", ("1000", "outlive: statuses(),"), "wall each")
    yield Goal(what="status of 1,000, each", aim="20 µs", bound=20e-6, ours=sweep)
    for count, aim, bound in (("10", "100 ms", 0.100), ("1000", "250 ms", 0.250)):
        ps = Figure("Listing, as a command", (count, "outlive ps"), "wall")
        yield Goal(what=f"`outlive ps` of {int(count):,}, cold", aim=aim, bound=bound, ours=ps)
    yield from _goals_of_recovery()
    yield from _goals_of_the_log()


def _goals_of_recovery() -> Iterator[Goal]:
    title, heading = "Recovery after SIGKILL", "until all are re-attached"
    short = Figure(title, ("1000", "its own"), heading)
    long = Figure(title, ("1000", "1,000,000 and its own"), heading)
    yield Goal(what="recovery of 1,000 survivors", aim="1 s", bound=1.0, ours=short)
    yield Goal(what="the same after 1,000,000 events", aim="1.2 × that", bound=1.2, ours=long, to=short)
    grown = Figure("Growth: agents", (), "each, to the least of fewer")
    yield Goal(what="cost of a start as agents grow", aim="flat: 1.2 × at most", bound=1.2, ours=grown)


def _goals_of_the_log() -> Iterator[Goal]:
    title, heading, peer = "Durable appends, SQLite", "events a second", "eventsourcing, Application.save"
    for store in ("outlive, log alone", "outlive, log and agents' rows"):
        for way, bound in (("1 a commit", 1.0), ("16 threads, 1 each", 5.0)):
            yield Goal(
                what=f"appends, SQLite, {way} ({store.partition(', ')[2]})", aim=f"{bound:g} × eventsourcing's",
                bound=bound, is_rate=True,
                ours=Figure(title, (store, way), heading), to=Figure(title, (peer, way), heading),
            )  # fmt: skip
    title = "Verifying a log"
    replay = Figure(title, ("outlive, replay into typed events",), heading)
    replay_of_peer = Figure(title, ("eventsourcing, replay",), heading)
    yield Goal(
        what="replay into typed events, SQLite", aim="3 × eventsourcing's", bound=3.0, is_rate=True,
        ours=replay, to=replay_of_peer,
    )  # fmt: skip
    yield Goal(
        what="verify, all cores", aim="500,000 events a second", bound=500_000, is_rate=True,
        ours=Figure(title, ("outlive, verify in",), heading),
    )  # fmt: skip
    title, rows = "Durable appends and replay, PostgreSQL", "outlive, log and agents' rows"
    for way, bound in (("1 thread", 2.0), ("16 threads", 10.0), ("replay, decoded", 3.0)):
        yield Goal(
            what=f"PostgreSQL, {way}", aim=f"{bound:g} × eventsourcing's", bound=bound, is_rate=True,
            ours=Figure(title, (way, rows), heading), to=Figure(title, (way, peer), heading),
        )  # fmt: skip


GOALS = tuple(_goals())


def tables_of(results: str) -> dict[str, Table]:
    """The first table of each section of a Markdown text, by the section's title."""
    tables: dict[str, Table] = {}
    title = ""
    for line in results.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("| ") and title:
            cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
            if title not in tables:
                tables[title] = Table(cells)
            elif any(cell.strip("-") for cell in cells):
                tables[title].rows.append(tuple(cells))
    return tables


def number(cell: str) -> float:
    """The median of a cell such as `12.3 ms (10.0 ms to 13.0 ms)` or `1,554 (1,481 to 1,608)`; see `UNITS`."""
    digits, _, unit = _median(cell).replace("%", " %").partition(" ")
    return float(digits.replace(",", "")) * UNITS[unit.strip()]


def section(results: str) -> str:
    """The section on `results`, Markdown, with the kept reasons for what is not reached."""
    tables = tables_of(results)
    table = Section(
        title=TITLE,
        how="Each goal beside what this run measured, computed from the medians of the tables above.",
        headings=("what", "goal", "measured", ""),
        rows=[goal.row(tables) for goal in GOALS],
        is_measured=False,
    )
    return f"{table.as_markdown()}\n{REASONS.read_text(encoding='utf-8')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the section for results that were written before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    print(section(given.results.read_text(encoding="utf-8").partition(f"## {TITLE}")[0]))


def _median(cell: str) -> str:
    return cell.partition(" (")[0]


def _is_called(cell: str, words: str) -> bool:
    return cell == words or cell.startswith(f"{words} ")


if __name__ == "__main__":
    main()

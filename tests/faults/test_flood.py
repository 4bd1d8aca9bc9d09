"""Agents that write without end: nobody is held up by them, with a coordinator and without one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manager.view import View
from tests.faults.run import Run
from tests.support.processes import eventually, runs
from tests.support.tally import Tally

FLOODS = 4
EXITS = 6
PATIENCE_SECONDS = (
    20.0  # one second is promised on a machine that does nothing else; how many kept to it is counted
)


@contextmanager
def kept_short(home: Path) -> Iterator[None]:
    """The output of all agents is cut off again and again, so that the disk outlasts the test."""
    is_over = threading.Event()

    def cut() -> None:
        while not is_over.wait(0.02):
            for path in home.glob("agents/*/*/stdout.log"):
                os.truncate(path, 0)

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        yield
    finally:
        is_over.set()
        cutting.join()


def test_a_flood_delays_nobody(tmp_path: Path, tally: Tally) -> None:
    """While four agents write as fast as they can, the ends of others are recorded in time."""
    with Run.create(tmp_path, seed=1) as run, kept_short(run.home):
        with run.coordinator() as coordinator:
            floods = coordinator.spawn(*[run.agent("--flood", "-1")] * FLOODS)
            others = coordinator.spawn(
                *[run.agent("--exit-after", f"0.{number}", "--code", "3") for number in range(3, 3 + EXITS)]
            )
            coordinator.ask("wait", agents=others)
            delays = _delays(run, others)
            coordinator.ask("kill", agents=floods)
        assert len(delays) == EXITS
        assert max(delays) < PATIENCE_SECONDS
        run.judge()
        tally("22 output flood", runs=FLOODS, exits_recorded_within_1_s=sum(delay < 1 for delay in delays))


def test_a_flood_without_a_coordinator_goes_on(tmp_path: Path, tally: Tally) -> None:
    """Nobody who writes when coordinator and launcher are gone is blocked or gets a SIGPIPE; the next one finds all."""
    with Run.create(tmp_path, seed=2) as run, kept_short(run.home):
        coordinator = run.coordinator()
        coordinator.spawn(*[run.agent("--flood", "-1")] * FLOODS)
        pids = [int(words[3]) for words in run.told_by_agents()]
        coordinator.kill()
        for pid in pids:
            before = _written(pid)
            eventually(lambda pid=pid, before=before: _written(pid) > before + (1 << 20), "it writes on")  # type: ignore[misc]
        with run.coordinator():
            assert all(runs(pid) for pid in pids)
        run.judge()
        tally("22 output flood without a coordinator", runs=FLOODS)


def test_a_large_output_of_one_line_harms_nobody(tmp_path: Path, tally: Tally) -> None:
    """Megabytes without a line end: a failing agent's last words are cut, and recorded within an event's size."""
    with Run.create(tmp_path, seed=3) as run:
        with run.coordinator() as coordinator:
            script = "head -c 5000000 /dev/zero | tr '\\0' '\\033'; sleep 0.3; exit 9"
            told = run.program("--exit-after", "0.2", "--code", "9")
            agents = coordinator.spawn(
                {**run.agent(), "command": ["sh", "-c", f'"$@"; {script}', "sh", *told]},
                {**run.agent(), "command": ["sh", "-c", f'"$@" >&2; {{ {script}; }} >&2', "sh", *told]},
            )
            coordinator.ask("wait", agents=agents)
        with run.manager() as manager:
            for agent in agents:
                assert manager.status(agent).state == "FAILED"
        for command in ("status", "events"):
            assert "\x1b" not in run.outlive(command, *agents[:1]).stdout
        tally("22 output flood", runs=2)


def _delays(run: Run, agents: list[str]) -> list[float]:
    """Seconds between an agent's last word and its exit in the log."""
    clock = json.loads((run.path / "clock").read_text())
    shift = clock["realtime_ns"] - clock["boottime_ns"]
    ended = {words[0]: int(words[-1]) for words in run.told_by_agents("END")}
    view = View.open(run.home)
    events = list(view.reader.events(types=("ZOMBIE_REAPED",)))
    view.close()
    reaped = {event.stream.partition("/")[2]: event.recorded_at for event in events}
    return [(reaped[agent] * 1000 - shift - ended[agent]) / 1e9 for agent in agents]


def _written(pid: int) -> int:
    text = Path(f"/proc/{pid}/io").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("wchar")))

"""Lives of coordinators and commands that are killed at named points; what died is noted for the oracle.

A *life* is one coordinator's: it opens the home, gets a fixed list of orders about agents of its own of every kind, and
closes. `Crashes` asks it (and through it the launcher, shims and children) to die somewhere by ``OUTLIVE_CRASH``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.reader import Reader
from manager.process import procfs
from tests.faults.driven import CoordinatorGone
from tests.faults.run import Run
from tests.support.processes import eventually

PATIENCE_SECONDS = 30.0
TARGETS = {"client": "client", "coordinator": "coordinator", "store": "coordinator", "launcher": "launcher"}
TARGETS |= {"shim": "shim", "child": "agent"}
# In the order in which they are started, so that the number of a kind's shim is known.
STAYING = ("keeper", "stubborn")
KINDS = ("quits", "litters", "tidy", "tree", "missing", "again", "stubborn", "keeper")


class Crash(NamedTuple):
    """At `point`, for the `number`-th time; in a shim or its child, in the `number`-th shim for the `hit`-th time."""

    point: str
    number: int = 1
    hit: int = 1

    @property
    def target(self) -> str:
        """What dies there."""
        return TARGETS[self.point.partition(".")[0]]


def specs(run: Run, kinds: tuple[str, ...] = KINDS) -> dict[str, dict[str, Any]]:
    """An agent of each kind.

    `quits` ends with 7; `litters` ends with 4 and leaves a child in its cgroup; `tidy` ends with 0 in a cgroup; `tree`
    ends with 5 and a descendant later; `missing` cannot be executed; `again` ends with 3 and is started again once;
    `stubborn` ignores SIGTERM, has a cgroup and a child; `keeper` waits for SIGTERM.
    """
    quick = {"start_window_seconds": 0.02, "stop_grace_seconds": (0.05, 0.05, 20.0)}
    grouped = {**quick, "cgroup": True}
    again = {"mode": "on-failure", "max_restarts": 1, "backoff_seconds": 0.05}
    every = {
        "quits": run.agent("--exit-after", "0.1", "--code", "7", **quick),
        "litters": run.agent("--fork", "1", "--exit-after", "0.1", "--code", "4", **grouped),
        "tidy": run.agent("--exit-after", "0.1", **grouped),
        "tree": run.agent(
            "--daemonise",
            "--daemon-seconds",
            "0.2",
            "--exit-after",
            "0.1",
            "--code",
            "5",
            until="tree",
            **quick,
        ),
        "missing": {**run.agent(**quick), "command": ["/nonexistent/program"]},
        "again": run.agent("--exit-after", "0.1", "--code", "3", restart=again, **quick),
        "stubborn": run.agent("--ignore", "TERM", "--fork", "1", **grouped),
        "keeper": run.agent("--beat", **quick),
    }
    return {kind: every[kind] for kind in kinds}


def orders(run: Run, life: int, *, after: int | None = None) -> Iterator[dict[str, Any]]:
    """What a life is asked for. `after`: an earlier life whose agents are asked for again, and never started twice."""
    if after is not None:
        again = [
            {"name": f"{kind}-{after}", "spec": spec}
            for kind, spec in specs(run).items()
            if kind != "missing"
        ]
        yield {"ask": "ensure", "items": again}
    names = {kind: f"{kind}-{life}" for kind in KINDS}
    yield {
        "ask": "spawn",
        "items": [{"name": names[kind], "spec": spec} for kind, spec in specs(run).items()],
    }
    directories = {one["name"]: one["directory"] for one in run.bodies("SPAWNING")}
    stubborn = directories.get(names["stubborn"], "agents/none/1").split("/")[1]
    eventually(lambda: run.has_begun(stubborn), "the stubborn one is deaf to SIGTERM")
    yield {"ask": "stop", "agents": [names["stubborn"]], "wait": False}
    yield {"ask": "ensure", "items": [{"name": names["keeper"], "spec": specs(run)["keeper"]}]}
    yield {"ask": "signal", "agents": [names["keeper"]], "signal": int(signal.SIGUSR1)}
    yield {"ask": "health", "agents": [names["keeper"]]}
    yield {"ask": "restart", "agents": [names["keeper"]]}
    yield {"ask": "recover"}
    ending = [names[kind] for kind in ("quits", "litters", "tidy", "tree", "again", "stubborn")]
    yield {"ask": "wait", "agents": ending, "timeout": PATIENCE_SECONDS}
    yield {"ask": "kill", "agents": [names["keeper"]]}


class Crashes:
    """The crashes of one run: each is asked for by `variables` and noted by `struck` once it has happened."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._asked: list[tuple[Crash, Path]] = []
        self._noted: set[Path] = set()
        self._numbers = itertools.count()

    def fresh(self) -> int:
        """A number that nobody has had in this run: for a life, and in the names of its agents."""
        return next(self._numbers)

    def variables(self, *crashes: Crash, **more: str) -> dict[str, str]:
        """The environment of a process that is to die at each of these points, or whose helpers are."""
        asked = [self._witnessed(crash) for crash in crashes]
        return {"OUTLIVE_CRASH": ",".join(asked), "TMPDIR": str(self._run.path), **more}

    def stop_at(self, crash: Crash) -> tuple[str, Path]:
        """The value of OUTLIVE_STOP for this point, and the file that says that it was reached."""
        path = self._run.path / f"stopped-{self.fresh()}-at-{crash.point}"
        return f"{crash.point}:{crash.number}.{crash.hit}:{path}", path

    def struck(self, crash: Crash) -> bool:
        """Whether it has happened since it was asked for last; its fault is noted."""
        path = next(path for asked, path in reversed(self._asked) if asked == crash)
        told = path.read_text().split() if path.exists() else []
        if told and path not in self._noted:
            self._noted.add(path)
            self._note(crash, path, int(told[0]), told[1])
        return bool(told)

    @property
    def count(self) -> int:
        """How many have happened."""
        return sum(path.exists() for _, path in self._asked)

    def _witnessed(self, crash: Crash) -> str:
        path = self._run.path / f"crashed-{len(self._asked)}-at-{crash.point}"
        self._asked.append((crash, path))
        return f"{crash.point}:{crash.number}.{crash.hit}:{path}"

    def _note(self, crash: Crash, path: Path, pid: int, directory: str) -> None:
        at = path.stat().st_mtime_ns - time.time_ns() + time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        agent, attempt = (None, None) if directory == "-" else directory.split("/")[-2:]
        number = None if attempt is None else int(attempt)
        self._run.fault(
            "kill", crash.target, pid=pid, agent=agent, attempt=number, at=at, signal=9, point=crash.point
        )


def chain(run: Run, crashes: Crashes, deaths: Sequence[Sequence[Crash]]) -> None:
    """A life for each group of crashes, ended by one of them or by its last order; it finds what those before left."""
    before: int | None = None
    for group in deaths:
        life = crashes.fresh()
        is_whole = live(run, life, crashes.variables(*group), after=before)
        for crash in group:
            assert crashes.struck(crash), f"{crash} was not reached"
        is_spared = all(crash.target != "coordinator" for crash in group)
        assert is_whole == is_spared, f"the coordinator lived on, or died of {group}"
        before = None if is_whole else life


def coordinator_dies(run: Run, crashes: Crashes, crash: Crash) -> None:
    """A life of a coordinator that ends at `crash`."""
    assert not live(run, crashes.fresh(), crashes.variables(crash)), f"{crash} was not reached"
    assert crashes.struck(crash), f"the coordinator died elsewhere than at {crash}"


def live(run: Run, life: int, variables: Mapping[str, str], *options: str, after: int | None = None) -> bool:
    """One life of a coordinator; False when it died before its end. What it was asked for may fail, and it goes on."""
    return obey_life(run, orders(run, life, after=after), *options, variables=variables)


def obey_life(
    run: Run, wanted: Iterable[dict[str, Any]], *options: str, variables: Mapping[str, str] | None = None
) -> bool:
    """A life with these orders; False when it died before its end."""
    try:
        with run.coordinator(*options, variables=variables) as coordinator:
            for order in wanted:
                coordinator.ask(**order)
            return coordinator.leave() == 0
    except CoordinatorGone:
        return False


def kill_ours(run: Run, *targets: str) -> None:
    """SIGKILL to what there is of this run's launchers and shims, each noted before."""
    for pid in procfs.all_pids():
        stat = procfs.read_stat(pid)
        if stat is None or not stat.comm.startswith("outlive-") or stat.is_ended:
            continue
        if str(run.path).encode() in (procfs.read_bytes(f"/proc/{pid}/environ") or b""):
            target = "shim" if stat.comm == "outlive-shim" else "launcher"
            if target in targets:
                run.kill(target, pid)


def kill_agent_without_its_shim(run: Run, agent: str) -> int:
    """SIGKILL to all shims of the run, then to the agent, once it has forked its child; its pid."""
    kill_ours(run, "shim")
    told = eventually(lambda: [w for w in run.told_by_agents("FORK") if w[0] == agent], "it has a child")
    [pid] = [int(words[3]) for words in run.told_by_agents("START") if words[0] == told[0][0]]
    run.kill("agent", pid, agent=agent)
    return pid


def settles_for_good(run: Run) -> None:
    """See every agent end that ends by itself, and the others run. Recover once more: nothing may follow from it."""
    with run.manager("settling") as manager:

        def is_settled() -> bool:
            return all(
                status.name.startswith(STAYING) and status.state == "RUNNING" and status.is_alive
                for status in manager.statuses()
            )

        eventually(is_settled, "every agent ends or stays")
    before = _moves(run)
    with run.manager("once more") as manager:
        report = manager.recovery
        assert report is not None
        assert (report.ended, report.lost, report.never_started) == (0, 0, 0), report
    assert _moves(run) == before, "opening once more found something new"


def _moves(run: Run) -> list[tuple[str, str]]:
    with contextlib.closing(Reader.open(f"sqlite:///{run.home}/events.db")) as reader:
        return [
            (event.stream, event.type)
            for event in reader.events()
            if event.stream.startswith("agent/") and event.type != "REATTACHED"
        ]


def wait_for(witness: Path) -> list[str]:
    """Until a process has left its witness whole and has stopped: its pid, and the path of a shim's attempt."""
    eventually(lambda: witness.exists() and witness.read_text().endswith("\n"), f"{witness.name} is there")
    told = witness.read_text().split()
    eventually(lambda: is_stopped(int(told[0])), f"{told[0]} has stopped")
    return told


def is_stopped(pid: int) -> bool:
    """Whether a process is there and stands still."""
    stat = procfs.read_stat(pid)
    return stat is not None and stat.state == "T"


def go_on(pid: int) -> None:
    """SIGCONT, to a process that stopped at a point."""
    os.kill(pid, signal.SIGCONT)

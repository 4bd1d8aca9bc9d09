"""The oracle against managers that are really broken, really run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.driven import Driven
from tests.faults.oracle.check import examine
from tests.faults.run import Run
from tests.faults.seeded import unasked
from tests.faults.seeded.broken import BUGS, STARTED_TOGETHER
from tests.support.processes import eventually
from tests.support.tally import Tally

TRACED = ("signals_go_by_number", "nothing_is_wrong")
CALLS = "trace=kill,tkill,tgkill,pidfd_send_signal,execve,fdatasync,fsync"
PATIENT = (0.3, 2.5, 20.0)  # long enough for the oracle to say who was not warned
AGAIN = {"mode": "on-failure", "max_restarts": 1, "backoff_seconds": 0.4}


assert unasked.__doc__  # its bugs are entered when it is imported
SHOWN = [name for name, bug in BUGS.items() if bug.promise is not None]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.strace] if name in TRACED else []) for name in SHOWN]
)
def test_a_broken_manager_is_found_out(name: str, tmp_path: Path, tally: Tally) -> None:
    """A manager with this bug breaks this promise; one without, run the same way, breaks none."""
    with Run.create(tmp_path, seed=17) as run:
        _live(run, name)
        run.settle()
        run.view()
        report = examine(run.path, patience=1.0)
    wanted = {BUGS[name].promise} - {""}
    found = {violation.promise for violation in report.violations}
    assert wanted <= found, report.as_text()
    assert wanted or not found, report.as_text()
    if wanted:
        tally("- the oracle given a run of a broken manager: found")


def _live(run: Run, name: str) -> None:
    """Ends of several kinds, a restart, a signal, a stop: under one coordinator, or half of it under a second one."""
    coordinator = _broken(run, name)
    specs = {
        "quick": run.agent("--exit-after", "0.3", "--code", "7"),
        "killed": run.agent("--exit-after", "0.3", "--die", "KILL"),
        "family": run.agent("--exit-after", "0.3", "--fork", "1"),
        "retry": run.agent("--exit-after", "0.2", "--code", "3", restart=AGAIN),
        "keeper": run.agent("--beat"),
        "deaf": run.agent("--beat", "--ignore", "TERM", "--fork", "1"),
    }
    coordinator.send("spawn", items=[{"name": name, "spec": spec} for name, spec in specs.items()])
    assert len(specs) == STARTED_TOGETHER
    ids = dict(zip(specs, coordinator.answer(1)["agents"], strict=True))
    eventually(lambda: len(run.told_by_agents("END")) >= 4, "the others end")
    if BUGS[name].is_of_recovery:
        coordinator.kill()
        coordinator = _broken(run, name)
    if coordinator.ask("signal", agents=[ids["keeper"]], signal=10)["answer"] == "ack":
        eventually(lambda: run.told_by_agents("SIG"), "the signal arrives")
    if name != "agents_are_ended_with_their_manager":
        coordinator.ask("stop", agents=[ids["keeper"]])
        is_patient = name in ("descendants_are_not_warned", "nothing_is_wrong")
        coordinator.ask("stop", agents=[ids["deaf"]], grace=PATIENT if is_patient else None)
    coordinator.ask("wait", agents=[ids["retry"]], timeout=2)
    coordinator.close()


def _broken(run: Run, name: str) -> Driven:
    place = run.path / "trace"
    place.mkdir(exist_ok=True)
    trace = str(place / str(len(list(place.iterdir()))))
    strace = ("strace", "-f", "-qq", "-ttt", "-T", "-yy", "-e", CALLS, "-o", trace)
    return run.coordinator(f"--bug={name}", under=strace if name in TRACED else ())

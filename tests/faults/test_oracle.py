"""The oracle itself: what it may know, what living processes tell it, and what it makes of missing evidence."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.oracle.asks import kinds_for
from tests.faults.oracle.check import PATIENCE_SECONDS, examine
from tests.faults.oracle.log import Row
from tests.faults.oracle.report import Violation
from tests.faults.run import Run
from tests.faults.seeded.ending import UNKNOWN, UNSEEN
from tests.faults.seeded.evidence import Evidence
from tests.support.processes import eventually

ORACLE = Path(__file__).with_name("oracle")

pytestmark = pytest.mark.damages  # copies are made to lie


def test_the_oracle_knows_nothing_of_ours() -> None:
    """It imports itself, the standard library, PostgreSQL's driver: what we got wrong it does not get wrong with us."""
    for path in ORACLE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "."]
                assert node.level == 0
            else:
                continue
            for name in names:
                is_own = name.startswith("tests.faults.oracle.")
                is_foreign = name.partition(".")[0] in {*sys.stdlib_module_names, "psycopg"}
                assert is_own or is_foreign, f"{path.name}: {name}"


def test_only_a_promise_can_be_broken() -> None:
    """A report names what was promised, in the words of the promise."""
    with pytest.raises(ValueError, match="it is no promise"):
        Violation("be nice", "it was not")


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in which one agent, `beats`, lives with a child, and one, `quick`, has ended with 7."""
    with Run.create(tmp_path_factory.mktemp("living"), seed=13) as run:
        with run.coordinator() as coordinator:
            behaviours = {"beats": ("--beat", "--fork", "1"), "quick": ("--exit-after", "0.2", "--code", "7")}
            specs = [run.agent(*behaviour) for behaviour in behaviours.values()]
            _, quick = coordinator.spawn(*specs, names=list(behaviours))
            coordinator.ask("wait", agents=[quick])
        yield run
        run.judge()


def test_a_living_agent_is_believed(living: Run) -> None:
    """What runs and is recorded as running breaks no promise."""
    assert not examine(living.path).violations


@pytest.mark.damages
def test_a_living_process_that_is_called_ended(living: Run, tmp_path: Path) -> None:
    """An end that is recorded of a process that lives is told from /proc, whatever the files say."""
    seen = Evidence.copy_of(living.path, tmp_path)
    last = seen.events[-1]
    running = seen.one("RUNNING", "beats")
    end = {**seen.one("ZOMBIE_REAPED", "quick").body, **UNSEEN, "exit": UNKNOWN}
    for event in (seen.put(running, "ZOMBIE_REAPED", **end), seen.put(running, "LOST", reason="gone")):
        event.columns["recorded_at"] = last.columns["recorded_at"]
        seen.drop(event)
        seen.events.append(event)
    seen.save()
    assert _promises(seen) == {"alive is not ended", "justified unknown", "nothing left behind"}


@pytest.mark.damages
def test_a_living_process_that_is_not_in_the_log(living: Run, tmp_path: Path) -> None:
    """A process of an agent that the log does not know to be started is a lost one."""
    seen = Evidence.copy_of(living.path, tmp_path)
    seen.drop(*seen.all("STARTED", "beats"), *seen.all("RUNNING", "beats"))
    seen.save()
    assert _promises(seen) == {"no lost process"}


def test_a_process_that_is_left_of_an_ended_attempt(living: Run, tmp_path: Path) -> None:
    """Whatever carries the marks of an attempt that is over should be gone."""
    seen = Evidence.copy_of(living.path, tmp_path)
    marks = {"OUTLIVE_AGENT_ID": seen.id("quick"), "OUTLIVE_ATTEMPT": "1"}
    with _child(["sleep", "60"], marks):
        assert _promises(seen) == {"nothing left behind"}
    assert _promises(seen) == set()


def test_a_child_that_nobody_reaps(living: Run, tmp_path: Path) -> None:
    """A zombie of an attempt that is over is left behind, too."""
    seen = Evidence.copy_of(living.path, tmp_path)
    with _child(["true"], {}) as child:
        stat = Path(f"/proc/{child.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "it is a zombie")
        ticks = stat.read_text().rpartition(")")[2].split()[19]
        seen.say("FORK", seen.id("quick"), 1, child.pid, ticks, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        assert _promises(seen) == {"nothing left behind"}


def test_what_passes_is_waited_for(living: Run, tmp_path: Path) -> None:
    """What ends just now is no violation, and what was written is one at once."""
    seen = Evidence.copy_of(living.path, tmp_path)
    marks = {"OUTLIVE_AGENT_ID": seen.id("quick"), "OUTLIVE_ATTEMPT": "1"}
    with _child(["sleep", "0.3"], marks):
        assert not examine(seen.path, patience=60).violations
    (seen.directory("quick") / "exit.json").unlink()
    begun = time.monotonic()
    assert examine(seen.path, patience=60 * PATIENCE_SECONDS).violations
    assert time.monotonic() - begun < 60


@contextmanager
def _child(command: list[str], marks: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **marks})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _promises(seen: Evidence) -> set[str]:
    return {violation.promise for violation in examine(seen.path, patience=0).violations}


def test_a_kill_of_what_a_restart_had_just_killed_was_taken_for_unasked() -> None:
    """Once a stop has come to SIGKILL a kill goes on as that stop, and is recorded as one; before, it is not."""
    begun = [_row("STOP_REQUESTED", cause="restart", forced=False), _row("SIGTERM_SENT", stage=1)]
    order = _row("STOP_REQUESTED", cause="user", forced=False)
    assert kinds_for(begun, order) == ("stop",)
    assert kinds_for([*begun, _row("SIGKILL_SENT")], order) == ("stop", "kill")


def _row(kind: str, **body: Any) -> Row:
    fields: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__, "")
    return Row(**{**fields, "type": kind, "attempt": 1, "data": json.dumps(body)})

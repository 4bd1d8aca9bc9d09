"""A home on a read-only file system: nothing is started, each command says why, and afterwards it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.rooms import read_only
from tests.faults.run import SETTLE_SECONDS, Run
from tests.support.processes import eventually
from tests.support.tally import Tally

pytestmark = pytest.mark.root

NAME = "it"


@pytest.mark.faults
def test_commands_on_a_read_only_home(tmp_path: Path, tally: Tally) -> None:
    """Without a coordinator nothing can be recorded: changes are refused, with the reason, and reading may be."""
    with Run.create(tmp_path, seed=1) as run:
        assert run.outlive("run", "--name", NAME, "--", *run.program("--beat")).returncode == 0
        with read_only(run):
            for command in (["run", "--name", "late", "--", *run.program()], ["stop", NAME], ["recover"]):
                done = run.outlive(*command)
                assert done.returncode in (1, 7), done
                assert done.stderr.startswith("outlive: cannot "), done.stderr
                assert "Traceback" not in done.stderr, done.stderr
            for command in (["ps"], ["events"], ["status", NAME], ["health", NAME], ["verify"], ["doctor"]):
                done = run.outlive(*command)
                assert done.returncode == 0 or "cannot" in done.stderr or done.stdout, done
                assert "unexpected" not in done.stderr, done.stderr
        assert [words[0] for words in run.told_by_agents()] == [run.bodies("SPAWNING")[0]["directory"][7:23]]
        assert run.outlive("stop", NAME).returncode == 0
        run.judge()
        tally("11 read-only home: commands")


def test_a_coordinator_whose_home_becomes_read_only(tmp_path: Path, tally: Tally) -> None:
    """It starts nothing more, and says so; it stops and watches what runs; when it can be written it goes on."""
    with Run.create(tmp_path, seed=1) as run:
        with run.coordinator() as coordinator:
            stopped, leaver, _ = coordinator.spawn(
                run.agent(), run.agent("--exit-after", "0.5", "--code", "7"), run.agent("--beat")
            )
            with read_only(run):
                coordinator.ask("spawn", items=[{"name": NAME, "spec": run.agent()}])
                stop = coordinator.send("stop", agents=[stopped], wait=False)
                eventually(lambda: len(run.told_by_agents("END")) == 2, "one is stopped, one ends by itself")
            coordinator.answer(stop)
            done = coordinator.ask("wait", agents=[stopped, leaver], timeout=SETTLE_SECONDS)
            assert done["answer"] == "ack", done
            coordinator.spawn(run.agent("--exit-after", "0.1"))
        assert len(run.told_by_agents()) == 4
        run.judge()
        tally("11 home becomes read-only")

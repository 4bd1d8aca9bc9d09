"""The oracle against evidence that is true but for one bug's traces."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from tests.faults.oracle.check import examine
from tests.faults.oracle.report import PROMISES
from tests.faults.run import Run
from tests.faults.seeded.everything import happen
from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import LIES, Lie
from tests.support.tally import Tally

for told in ("histories", "starting", "ending", "signalling", "reading", "orders"):
    importlib.import_module(f"tests.faults.seeded.{told}")

pytestmark = pytest.mark.damages  # lies leave rows that are not what the log says


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was left of one true run; nothing of it runs any more."""
    place = tmp_path_factory.mktemp("truth")
    with Run.create(place, seed=11) as run:
        happen(run)
        run.judge()
        return shutil.copytree(run.path, place / "kept")


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_a_lie_is_found_out(lie: Lie, truth: Path, tmp_path: Path, tally: Tally) -> None:
    """Each bug is reported as the promises that it breaks, and as no other."""
    seen = Evidence.copy_of(truth, tmp_path)
    lie.tell(seen)
    report = examine(seen.path, patience=0)
    assert {violation.promise for violation in report.violations} == lie.promises, report.as_text()
    tally("- the oracle given the traces of a bug: found, and named rightly")


def test_the_truth_is_believed_when_it_is_written_anew(truth: Path, tmp_path: Path) -> None:
    """What makes a lie is the lie, not that the log was copied."""
    seen = Evidence.copy_of(truth, tmp_path)
    seen.save()
    assert not examine(seen.path, patience=0).violations


def test_every_promise_is_lied_about() -> None:
    """No promise is checked by code that has never found anything, but what only a living process shows."""
    found = {promise for lie in LIES for promise in lie.promises}
    assert set(PROMISES) - found == {"no lost process"}

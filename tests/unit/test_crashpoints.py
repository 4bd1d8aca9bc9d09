"""The named crash points: each one that is declared is somewhere in the code, and the other way round."""

import re
import subprocess
import sys
from pathlib import Path

from eventstore.crashpoints import POINTS

ROOT = Path(__file__).resolve().parents[2]


def test_declared_points_are_those_in_the_code() -> None:
    """A sweep over the declared points leaves out no step, and waits for none that does not exist."""
    used: set[str] = set()
    for package in ("eventstore", "manager", "projections"):
        for path in (ROOT / package).rglob("*.py"):
            used |= set(re.findall(r'crash_point\("([a-z_.]+)"\)', path.read_text(encoding="utf-8")))
    assert used == POINTS


def test_a_crash_leaves_its_witness(tmp_path: Path) -> None:
    """`name:N:FILE` makes FILE and dies by SIGKILL at the N-th hit, not before."""
    program = (
        "from eventstore.crashpoints import crash_point as point\n"
        "point('store.before_begin'); print('once'); point('store.before_begin')"
    )
    witness = tmp_path / "here"
    done = subprocess.run(
        [sys.executable, "-u", "-c", program],
        env={"OUTLIVE_CRASH": f"store.before_begin:2:{witness}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, witness.exists()) == (-9, "once\n", True)

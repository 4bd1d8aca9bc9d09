"""Numbers of processes that outlive believes in go to canaries: none of them is ever signalled."""

from __future__ import annotations

import json
import re

import pytest

from tests.faults.namespace import has_numbers_of_its_own, run_in_namespace
from tests.support.tally import Tally

pytestmark = pytest.mark.root
SECONDS_EACH = 10  # far more than one takes


def _reuse(tally: Tally, count: int, seed: int, disabled: str) -> None:
    arguments = ("--count", str(count), "--seed", str(seed), "--disabled", disabled)
    done = run_in_namespace("tests.faults.pid_reuse", arguments, timeout=60 + SECONDS_EACH * count)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    without = f" without {disabled}" if disabled else ""
    tally(
        f"7 reused pids, then stop, kill, signal, recovery{without}",
        runs=found["reuses"],
        violations=len(found["wrong"]),
        in_the_same_clock_tick=found["same_tick"],
    )
    assert not found["wrong"], "\n".join(found["wrong"])
    assert done.returncode == 0, done.stderr
    assert found["reuses"] == count


@pytest.mark.timeout(400)
@pytest.mark.parametrize("disabled", ["", "pidfs"])
def test_whoever_has_a_reused_number_is_left_alone(tally: Tally, disabled: str) -> None:
    """Also where the pid and the start time are the same, and pidfds have no number of their own."""
    _reuse(tally, 8, 1, disabled)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("disabled", ["", "pidfs", "pidfs,pidfd_info", "pidfd,pidfs,pidfd_info"])
def test_a_thousand_reused_numbers(tally: Tally, disabled: str, seed: int) -> None:
    """A thousand with all that the kernel has, and a thousand for each kernel that has less."""
    _reuse(tally, 100, 100 + seed, disabled)


def _churn(tally: Tally, seed: int, kills: int) -> int:
    if not has_numbers_of_its_own():
        pytest.skip("needs Linux 6.14: before, the largest pid is one for the whole host")
    arguments = ("--kills", str(kills), "--seed", str(seed), "--workers", "1")
    variables = {"OUTLIVE_TEST_PIDS": "400"}  # the first 300 are given out once only
    done = run_in_namespace("tests.faults.storm", arguments, variables=variables, timeout=3 * kills)
    counts = {name: int(count) for count, name in re.findall(r"^ *(\d+)  (\D.*)$", done.stdout, re.MULTILINE)}
    used_again = counts.get("numbers of agents and shims used again", 0)
    tally(
        "8 pids reused by nature in a storm",
        runs=counts.get("kills", 0),
        violations=counts.get("violations", 0),
        numbers_used_again=used_again,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return used_again


@pytest.mark.timeout(900)
def test_a_storm_among_few_numbers(tally: Tally) -> None:
    """A hundred numbers for all that lives: those of the dead are given again, and no promise is broken."""
    # One storm nearly always does; where a busy machine lets few agents start before the kill, others follow.
    assert any(_churn(tally, seed, 100) for seed in range(5, 15))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_five_minutes_among_few_numbers(tally: Tally, seed: int) -> None:
    """The same for a minute each."""
    assert _churn(tally, seed, 400) > 0

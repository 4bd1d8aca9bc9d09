"""The pure core in every interleaving that hypothesis thinks of, with a host, clocks and a log that exist in memory."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import World
from tests.support.tally import Tally

HEALTH = list(HealthCheck)
ROW = "- stateful model of the core: histories"


def test_the_core_keeps_its_promises_in_every_interleaving(tally: Tally) -> None:
    """Orders, crashes between any two steps, lost helpers, reused numbers, set clocks, refusals: nothing gives."""
    few = settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=HEALTH,
    )
    run_state_machine_as_test(World, settings=few)
    tally(ROW, runs=60)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_the_core_keeps_its_promises_in_thousands_of_long_histories(tally: Tally) -> None:
    """As above, from a seed that is printed."""
    number = random.SystemRandom().randrange(10**9)
    print(f"seed {number}")
    many = settings(
        max_examples=4000, stateful_step_count=60, deadline=None, database=None, suppress_health_check=HEALTH
    )
    run_state_machine_as_test(seed(number)(type("World", (World,), {})), settings=many)
    tally(ROW, runs=4000)

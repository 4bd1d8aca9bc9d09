"""Which samples stay: all of the newest, one for each stretch of time before, none that is too old."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import InvalidRequest
from eventstore.samples import Sample
from manager.thinning import DENSE_ROWS, MIDDLE_SECONDS, THINNED_ROWS, Plan, plan_of, surplus

NOW = 1_700_000_000_000_000
DAY = 86_400


def sample(age_seconds: float, memory: int = 1) -> Sample:
    """A sample of that age."""
    return Sample("a", 1, NOW - round(age_seconds * 1e6), 1.0, memory, 1, 1)


def staying(rows: list[Sample], plan: Plan) -> list[Sample]:
    """What is left, in order of time."""
    going = set(surplus(rows, NOW, plan))
    return [row for row in rows if row not in going]


def test_a_month_of_samples_is_thinned_to_a_page() -> None:
    """All of the last 300 intervals, one in 5 minutes for a day, one in 3 hours for 30 days: the time is covered."""
    rows = [sample(age) for age in range(40 * DAY, 0, -60)]
    left = staying(rows, Plan(interval_seconds=60))
    ages = [(NOW - row.sampled_at) / 1e6 for row in left]
    assert len(left) <= THINNED_ROWS
    assert ages[0] > 30 * DAY - 3 * 3600
    assert [age for age in ages if age < DENSE_ROWS * 60] == list(range(DENSE_ROWS * 60 - 60, 0, -60))
    gaps = [(older - younger, older) for older, younger in itertools.pairwise(ages)]
    assert max(gap for gap, older in gaps if older < DAY) <= 2 * MIDDLE_SECONDS
    assert max(gap for gap, _ in gaps) <= 2 * 3 * 3600


def test_a_peak_stays() -> None:
    """Of each stretch the sample with the most memory is kept, so that thinning hides no peak."""
    rows = [sample(age, 10**9 if age == 54_240 else age % 1_000) for age in range(2 * DAY, 0, -30)]
    left = staying(rows, Plan())
    assert 10**9 in [row.memory_bytes for row in left]
    again = staying(left, Plan())
    assert again == left


@given(
    st.lists(st.tuples(st.floats(-1e6, 5e6), st.integers(0, 9)), max_size=2_500),
    st.sampled_from([0.1, 1.0, 10.0, 600.0, 86_400.0]),
    st.sampled_from([0.01, 1.0, 30.0, 365.0]),
)
def test_there_are_never_too_many(ages: list[tuple[float, int]], interval: float, days: float) -> None:
    """Whatever the clock did, and whatever the plan is: few stay, none too old, and thinning again takes no more."""
    rows = sorted({sample(*one) for one in ages}, key=lambda row: row.sampled_at)
    left = staying(rows, Plan(interval, days))
    assert len(left) <= THINNED_ROWS
    assert all((NOW - row.sampled_at) / 1e6 <= days * DAY for row in left)
    assert set(staying(left, Plan(interval, days))) == set(left)


def test_the_environment_makes_the_plan() -> None:
    """Two variables change it; what is no such number is refused with what it has to be."""
    assert plan_of({}) == Plan(10.0, 30.0)
    assert plan_of({"OUTLIVE_SAMPLE_SECONDS": "0", "OUTLIVE_SAMPLE_DAYS": "1.5"}) == Plan(0.0, 1.5)
    for name, text in [
        ("OUTLIVE_SAMPLE_SECONDS", "often"),
        ("OUTLIVE_SAMPLE_SECONDS", "-1"),
        ("OUTLIVE_SAMPLE_SECONDS", "0.01"),
        ("OUTLIVE_SAMPLE_SECONDS", "nan"),
        ("OUTLIVE_SAMPLE_DAYS", "0"),
        ("OUTLIVE_SAMPLE_DAYS", "inf"),
    ]:
        with pytest.raises(InvalidRequest, match=f"cannot use {name}='{text}'"):
            plan_of({name: text})

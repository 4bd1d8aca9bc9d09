"""The rule that says whether an ended attempt is followed by another, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.state import OUTCOMES, State
from eventstore.values import RestartRule
from manager.restart import GiveUp, NextAttempt, after

FAILURE = RestartRule(mode="on-failure", max_restarts=3)
ROWS = [
    # rule, outcome, restarts used, ran for seconds → delay and restarts used then; None: nothing; "up": given up
    (RestartRule(), State.FAILED, 0, 1.0, None),  # never is the default
    (FAILURE, State.COMPLETED, 0, 1.0, None),
    (FAILURE, State.CANCELLED, 0, 1.0, None),
    (FAILURE, State.FAILED, 0, 1.0, (1.0, 1)),
    (FAILURE, State.KILLED, 0, 1.0, (1.0, 1)),
    (FAILURE, State.LOST, 0, 1.0, (1.0, 1)),
    (FAILURE, State.FAILED, 1, 1.0, (2.0, 2)),
    (FAILURE, State.FAILED, 2, 1.0, (4.0, 3)),
    (FAILURE, State.FAILED, 3, 1.0, "up"),
    (FAILURE, State.FAILED, 3, 59.999, "up"),
    (FAILURE, State.FAILED, 3, 60.0, (1.0, 1)),  # a good run starts the count anew
    (RestartRule(mode="always"), State.COMPLETED, 5, 1.0, (32.0, 6)),
    (RestartRule(mode="always"), State.COMPLETED, 6, 1.0, (60.0, 7)),  # the limit, not 64
    (RestartRule(mode="always"), State.FAILED, 100_000, 1.0, (60.0, 100_001)),
    (RestartRule(mode="always"), State.CANCELLED, 0, 1.0, None),  # what was stopped stays so
    (RestartRule(mode="always", max_restarts=1), State.COMPLETED, 1, 1.0, "up"),
    (RestartRule(mode="on-failure", backoff_seconds=0.0), State.FAILED, 9, 1.0, (0.0, 10)),
]


@pytest.mark.parametrize(("rule", "outcome", "used", "ran", "expected"), ROWS)
def test_the_rule(*, rule: RestartRule, outcome: State, used: int, ran: float, expected: object) -> None:
    """The k-th restart waits twice as long as the one before, up to the limit, as often as the budget allows."""
    found = after(rule, outcome, used=used, ran_seconds=ran)
    if isinstance(expected, tuple):
        assert found == NextAttempt(delay_seconds=expected[0], used=expected[1])
    else:
        assert found == (None if expected is None else GiveUp(used=used))


@given(
    st.sampled_from(sorted(OUTCOMES)),
    st.integers(0, 10**9),
    st.floats(0, 10**9),
    st.floats(0, 10**6),
    st.floats(0, 10**6),
)
def test_no_delay_is_beyond_the_limit(
    outcome: State, used: int, ran: float, first: float, limit: float
) -> None:
    """However often it was restarted: the delay is finite, not negative, and at most the limit."""
    rule = RestartRule(mode="always", backoff_seconds=first, backoff_limit_seconds=limit)
    found = after(rule, outcome, used=used, ran_seconds=ran)
    if isinstance(found, NextAttempt):
        assert 0 <= found.delay_seconds <= limit

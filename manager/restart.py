"""Whether an ended attempt is followed by another, and when: geometric delays, a budget, a reset after a good run."""

from __future__ import annotations

from dataclasses import dataclass

from eventstore.state import State
from eventstore.values import RestartRule

FAILURES = frozenset({State.FAILED, State.KILLED, State.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAttempt:
    """Start again after `delay_seconds`; `used` restarts of the budget are then spent."""

    delay_seconds: float
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The budget is spent."""

    used: int


def after(rule: RestartRule, outcome: State, *, used: int, ran_seconds: float) -> NextAttempt | GiveUp | None:
    """What the rule says after an attempt that ended with `outcome` and ran for `ran_seconds`; None: nothing follows.

    An attempt that somebody stopped (CANCELLED) is never followed by another.
    """
    wanted = {
        "never": False,
        "on-failure": outcome in FAILURES,
        "always": outcome in FAILURES or outcome is State.COMPLETED,
    }[rule.mode]
    if not wanted:
        return None
    if ran_seconds >= rule.reset_after_seconds:
        used = 0
    if rule.max_restarts is not None and used >= rule.max_restarts:
        return GiveUp(used=used)
    # 2 ** 60 s is beyond any limit; the bound keeps the power finite for agents that restart for years.
    delay = min(rule.backoff_seconds * 2.0 ** min(used, 60), rule.backoff_limit_seconds)
    return NextAttempt(delay_seconds=delay, used=used + 1)

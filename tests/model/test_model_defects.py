"""The model finds what it is for: a defect planted into the core breaks a promise within a few hundred histories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from eventstore import events as ev
from eventstore.lifecycle import evolve
from eventstore.state import AgentState
from eventstore.values import ExitedBySignal, ExitedWithCode
from manager import decide, judge, ledger, recovery
from manager.restart import NextAttempt, after
from tests.model import shell, store
from tests.model.machine import World
from tests.model.promises import BrokenPromise
from tests.support.tally import Tally

Plant = Callable[[pytest.MonkeyPatch], None]
true_live, true_requested, true_unknown = recovery._live, recovery._requested, recovery._unknown
true_advance, true_commit = decide._advance_stop, ledger.Ledger.commit


def _uncertain_is_gone(patch: pytest.MonkeyPatch) -> None:
    def live(one: AgentState, seen: Any, unwatched: float) -> Any:
        return true_live(
            one, replace(seen, process="gone") if seen.process == "unproved" else seen, unwatched
        )

    patch.setattr(recovery, "_live", live)


def _gone_is_alive(patch: pytest.MonkeyPatch) -> None:
    def live(one: AgentState, seen: Any, unwatched: float) -> Any:
        return true_live(one, replace(seen, process="same") if seen.process == "gone" else seen, unwatched)

    patch.setattr(recovery, "_live", live)


def _zero_is_guessed(patch: pytest.MonkeyPatch) -> None:
    def unknown(*given: Any) -> Any:
        found: Any = true_unknown(*given)
        command: Any = replace(found.commands[0], exit=ExitedWithCode(code=0))
        return replace(found, commands=(command,))

    patch.setattr(recovery, "_unknown", unknown)


def _stop_ends_with_its_last_signal(patch: pytest.MonkeyPatch) -> None:
    def advance(state: Any, command: Any, now: int) -> list[Any]:
        events: list[Any] = true_advance(state, command, now)
        if events and isinstance(events[0], ev.StopTimedOut):
            exit_ = ExitedBySignal(signal=9, core_dumped=False)
            seen = recovery._exit(_nothing_seen(), recovery.ExitRecord(exit=exit_))
            return decide._observe_exit(state, seen, now)
        return events

    patch.setattr(decide, "_advance_stop", advance)
    patch.setattr("tests.model.host.Host.signal", lambda *_: None)  # nobody obeys


def _nothing_seen() -> Any:
    return recovery.Observed(
        observed_at=0,
        is_recovery=False,
        is_same_boot=True,
        directory="present",
        is_shim_alive=True,
        identity=None,
        is_identity_damaged=False,
        has_executed=True,
        failed_exec=None,
        exit=None,
        process="same",
        evidence="",
    )


def _start_at_work_is_given_up(patch: pytest.MonkeyPatch) -> None:
    def requested(seen: Any, unwatched: float) -> Any:
        is_slow = seen.is_shim_alive and not seen.has_executed
        return true_requested(
            replace(seen, is_shim_alive=False, identity=None) if is_slow else seen, unwatched
        )

    patch.setattr(recovery, "_requested", requested)


def _back_off_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def at_once(*given: Any, **more: Any) -> Any:
        step = after(*given, **more)
        return replace(step, delay_seconds=0.0) if isinstance(step, NextAttempt) else step

    patch.setattr(judge, "after", at_once)


def _budget_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        judge, "after", lambda rule, *given, **more: after(replace(rule, max_restarts=None), *given, **more)
    )


def _count_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forgetful(state: Any, event: Any, at: int) -> Any:
        return replace(evolve(state, event, at), restarts_used=0)

    for module in (ledger, decide, store):
        patch.setattr(module, "evolve", forgetful)


def _stop_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forgetful(state: Any, event: Any, at: int) -> Any:
        after_it = evolve(state, event, at)
        is_reaped = isinstance(event, ev.ZombieReaped)
        return replace(after_it, phase=replace(after_it.phase, stop=None)) if is_reaped else after_it  # type: ignore[arg-type]

    for module in (ledger, decide, store):
        patch.setattr(module, "evolve", forgetful)


def _every_end_is_a_success(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "judge", lambda state, *_, **__: ev.AgentCompleted(attempt=state.attempt))


def _due_time_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shell, "until_next_attempt", lambda *_: 0.0)


def _refused_events_are_dropped(patch: pytest.MonkeyPatch) -> None:
    def commit(self: ledger.Ledger) -> None:
        try:
            true_commit(self)
        except Exception:
            self._staged.clear()
            raise

    patch.setattr(ledger.Ledger, "commit", commit)


RARE = [
    _uncertain_is_gone,
    _gone_is_alive,
    _start_at_work_is_given_up,
    _budget_is_forgotten,
    _count_is_forgotten,
    _due_time_is_ignored,
    _refused_events_are_dropped,
]
LONG = (pytest.mark.faults, pytest.mark.timeout(1800))
DEFECTS: list[Any] = [
    _zero_is_guessed,
    _stop_ends_with_its_last_signal,
    _back_off_is_forgotten,
    _stop_is_forgotten,
    _every_end_is_a_success,
    *(pytest.param(plant, marks=LONG) for plant in RARE),
]


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_defect_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """Each breaks a promise by its name."""
    plant(monkeypatch)
    search = settings(
        max_examples=2000,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(BrokenPromise):
        run_state_machine_as_test(World, settings=search)
    tally("- stateful model given a defect: found")

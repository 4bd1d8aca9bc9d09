"""The judgement: every promise held against what was gathered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tests.faults.oracle.asks import check_asks
from tests.faults.oracle.case import Case, gather
from tests.faults.oracle.clients import check_clients
from tests.faults.oracle.ends import check_ends
from tests.faults.oracle.exits import check_exits
from tests.faults.oracle.fold import check_epochs, check_transitions
from tests.faults.oracle.leftovers import check_leftovers
from tests.faults.oracle.log import check_chain, check_head, check_prefixes
from tests.faults.oracle.notices import check_notices
from tests.faults.oracle.policy import check_policy
from tests.faults.oracle.report import Report, Violation
from tests.faults.oracle.secrets import check_secrets
from tests.faults.oracle.signals import check_signals
from tests.faults.oracle.stages import check_stages
from tests.faults.oracle.starts import check_starts
from tests.faults.oracle.trace import check_trace
from tests.faults.oracle.unknowns import check_unknowns
from tests.faults.oracle.views import check_views

PATIENCE_SECONDS = 5.0  # for what ends or is reaped just now


def examine(run: Path, *, patience: float = PATIENCE_SECONDS) -> Report:
    """Judge a run whose home has settled. What may pass by itself is reported if it is there after `patience` seconds.

    Raises `Undecidable` when the evidence cannot be read.
    """
    deadline = time.monotonic() + patience
    while True:
        case = gather(run)
        violations = list(_violations(case))
        if not violations or time.monotonic() > deadline or not _may_pass(violations):
            return Report(_seed(run), _counts(case), violations)
        time.sleep(0.2)


PASSING = {
    "agents notice nothing",
    "alive is not ended",
    "nothing left behind",
    "no lost process",
    "one live attempt",
    "views are the fold",
}


def _may_pass(violations: list[Violation]) -> bool:
    """Whether all of them are about what is there now, rather than about what was written."""
    return {violation.promise for violation in violations} <= PASSING


def _violations(case: Case) -> Iterator[Violation]:
    yield from chain(
        check_chain(case.log),
        check_prefixes(case.log, case.snapshots),
        check_head(case.log, case.home / "head"),
        check_transitions(case.rows),
        check_epochs(case.rows),
        check_starts(case),
        check_exits(case),
        check_ends(case),
        check_unknowns(case),
        check_signals(case),
        check_views(case),
        check_notices(case),
        check_clients(case),
        check_asks(case),
        check_stages(case),
        check_policy(case),
        check_leftovers(case),
        check_secrets(case),
        check_trace(case),
    )


def _counts(case: Case) -> dict[str, int]:
    return {
        "events": len(case.rows),
        "agents": len(case.agents),
        "attempts": len(case.attempts),
        "starts": len(case.starts),
        "lines": sum(map(len, case.lines.values())),
        "faults": len(case.faults),
        "asks": len(case.asks),
        "answers": len(case.clients),
        "snapshots": len(case.snapshots),
        "views": len(case.views),
    }


def _seed(run: Path) -> str:
    path = run / "seed"
    return path.read_text().strip() if path.exists() else ""

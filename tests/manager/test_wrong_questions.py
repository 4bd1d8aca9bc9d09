"""Questions with arguments of another type or value: refused in words that say what to give."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import InvalidRequest
from manager import AgentSpec, Manager

QUESTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "since": (lambda manager: manager.report("failures", since="1h"), "is no datetime"),
    "until": (lambda manager: manager.analyse("risks", until=5), "is no datetime"),
    "attempt of why": (lambda manager: manager.why("it", attempt="1"), "as an int"),
    "attempt that is a truth value": (lambda manager: manager.why("it", attempt=True), "as an int"),
    "attempt of samples": (lambda manager: manager.samples("it", attempt="x"), "as an int"),
    "threshold of trends": (
        lambda manager: manager.analyse("trends", threshold=float("nan")),
        "give no threshold",
    ),
    "threshold of risks": (lambda manager: manager.analyse("risks", threshold=float("nan")), "from 0 to 1"),
    "threshold that is a text": (lambda manager: manager.analyse("anomalies", threshold="x"), "0 or more"),
    "year": (lambda manager: manager.report("failures", since=datetime.min), "as a time"),  # noqa: DTZ901
}


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One with an agent that has ended."""
    home: Path = tmp_path_factory.mktemp("wrong") / "home"
    with Manager.open(home) as manager:
        manager.wait(manager.spawn(AgentSpec(command=("sh", "-c", "sleep 0.3")), "it"))
        yield manager


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_wrong_question_raised_an_attribute_error_or_found_nothing(manager: Any, question: str) -> None:
    """`InvalidRequest`, which says what to give."""
    ask, word = QUESTIONS[question]
    with pytest.raises(InvalidRequest, match=word):
        ask(manager)


def test_right_questions_are_answered(manager: Any) -> None:
    """The same ones, as they are meant."""
    assert manager.report("failures", since=datetime.fromtimestamp(0, UTC)).rows
    assert manager.why("it", attempt=1).verdict.cause == "completed"
    assert manager.samples("it", attempt=1) is not None
    assert manager.analyse("trends", threshold=0).findings == ()

"""The figures about predictions can be trusted: real log, real projections, and nothing of the future is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from benchmarks.labelled import history
from benchmarks.prediction import THRESHOLDS, Answer, figures, replay, section


def test_every_detector_is_asked_and_answers() -> None:
    """Each has questions with both answers, scores within its range, and the same ones for the same seed."""
    made = history(seed=5, number=1)
    answers = list(replay(made))
    kinds = Counter(answer.question.kind for answer in answers)
    assert set(kinds) == set(THRESHOLDS)
    truths = {(answer.question.kind, answer.question.truth) for answer in answers}
    assert truths >= {(kind, False) for kind in kinds if kind != "restart spiral"}
    for answer in answers:
        most = 1.0 if answer.question.kind in ("memory limit", "restart spiral") else float("inf")
        assert 0 <= answer.score <= most
    assert history(seed=5, number=1).questions == made.questions
    text = section(answers, seed=5).as_markdown()
    assert all(kind in text for kind in kinds)


def test_figures_count_what_was_right_and_wrong() -> None:
    """Alarms that were right, alarms that were wrong, what was missed."""
    question = history(seed=5, number=1).questions[0]
    true, false = replace(question, truth=True), replace(question, truth=False)
    answers = [
        Answer(true, 0.9),
        Answer(true, 0.2),
        Answer(false, 0.9),
        Answer(false, 0.1),
        Answer(true, 0.5),
    ]
    assert figures(answers, 0.5) == (2, 1, 1)

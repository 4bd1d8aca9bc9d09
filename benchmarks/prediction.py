"""`python -m benchmarks.prediction`: what the detectors are worth, on histories whose end is known.

Each history is written to a real log, followed by the real projections, and asked about as of the moment at which
somebody would have wanted to know; what came later is the answer.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.labelled import History, Question, history
from benchmarks.report import Section
from eventstore import samples
from eventstore.statements import Statements
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from projections.analytics.anomalies import THRESHOLD as ANOMALY_THRESHOLD
from projections.analytics.anomalies import Anomaly, anomalies
from projections.analytics.history import Attempt, as_of
from projections.analytics.risks import THRESHOLD as RISK_THRESHOLD
from projections.analytics.risks import Risk, risks
from projections.analytics.source import attempts, samples_of
from projections.catchup import catch_up

BATCHES_A_COMMIT = 500
THRESHOLDS = {
    "memory limit": (0.1, 0.3, 0.5, 0.7),
    "restart spiral": (0.3, 0.5, 0.7, 0.85),
    **dict.fromkeys(("duration", "memory", "restarts", "silence"), (2.5, 3.5, 5.0, 7.0)),
}
JUST_NOW = 200_000_000


class Answer(NamedTuple):
    """What a detector said, and what was true."""

    question: Question
    score: float


def replay(made: History) -> Iterator[Answer]:
    """Write it all, then ask."""
    with tempfile.TemporaryDirectory(prefix="outlive-prediction-") as place:
        url = f"sqlite:///{Path(place) / 'events.db'}"
        with EventStore.open(url, home="bench", host="bench", inline=[AgentsProjection()]) as store:
            ordered = [batch for _, batch in sorted(made.batches, key=lambda item: item[0])]
            for start in range(0, len(ordered), BATCHES_A_COMMIT):
                store.append_many(ordered[start : start + BATCHES_A_COMMIT], epoch=None)
            with store.write() as connection:
                samples.insert(Statements(connection), made.samples)
            catch_up(store)
            with closing(store.reader()) as reader:
                everything = attempts(reader)
                for question in made.questions:
                    known = as_of([one for one in everything if one.name == question.name], question.at)
                    seen = samples_of(reader, {one.agent_id for one in known})
                    yield Answer(question, _score(question, known, seen))


def _score(
    question: Question, known: Sequence[Attempt], seen: Mapping[str, Sequence[samples.Sample]]
) -> float:
    before = {agent: [row for row in rows if row.sampled_at <= question.at] for agent, rows in seen.items()}
    found: Sequence[Risk | Anomaly]
    if question.limit_bytes is not None or question.kind == "restart spiral":
        limits = dict.fromkeys(before, question.limit_bytes or 1 << 60)
        found = risks(known, before, limits, now=question.at, threshold=0.0)
    else:
        found = anomalies(known, before, now=question.at, since=question.at - JUST_NOW, threshold=0.0)
    return max((one.score for one in found if one.kind == question.kind), default=0.0)


def figures(answers: Sequence[Answer], threshold: float) -> tuple[int, int, int]:
    """Alarms that were right, alarms that were wrong, and what was missed."""
    alarms = [answer.question.truth for answer in answers if answer.score >= threshold]
    missed = sum(answer.question.truth for answer in answers if answer.score < threshold)
    return sum(alarms), len(alarms) - sum(alarms), missed


def section(answers: Sequence[Answer], *, seed: int) -> Section:
    """The table, and which kinds of history the alarms at the default threshold were wrong or missing in."""
    rows, notes = [], []
    for kind, thresholds in THRESHOLDS.items():
        mine = [answer for answer in answers if answer.question.kind == kind]
        for threshold in thresholds:
            right, wrong, missed = figures(mine, threshold)
            is_default = threshold in (RISK_THRESHOLD, ANOMALY_THRESHOLD)
            rows.append(
                [
                    kind,
                    f"{threshold:g}{' (default)' if is_default else ''}",
                    str(len(mine)),
                    str(right + missed),
                    str(right),
                    str(wrong),
                    f"{right / (right + wrong):.2f}" if right + wrong else "-",
                    f"{right / (right + missed):.2f}" if right + missed else "-",
                ]
            )
            if is_default:
                notes.append(f"{kind}: {_mistakes(mine, threshold)}")
    return Section(
        title="Prediction",
        how="Histories from a seed, half of them made to look alike and be harmless, written to a real log, followed by"
        f" the real projections and asked about as of a moment in them (seed {seed}).",
        headings=("detector", "threshold", "asked", "true", "found", "false alarms", "precision", "recall"),
        rows=rows,
        notes=notes,
    )


def _mistakes(answers: Sequence[Answer], threshold: float) -> str:
    counts: Counter[str] = Counter()
    for answer in answers:
        if (answer.score >= threshold) != answer.question.truth:
            counts[
                f"{'missed' if answer.question.truth else 'false alarm'} in “{answer.question.scenario}”"
            ] += 1
    return ", ".join(f"{what} {count} ×" for what, count in counts.most_common()) or "no mistake"


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--histories", type=int, default=40, help="of each kind")
    arguments = parser.parse_args()
    answers = list(replay(history(arguments.seed, arguments.histories)))
    print(section(answers, seed=arguments.seed).as_markdown())


if __name__ == "__main__":
    main()

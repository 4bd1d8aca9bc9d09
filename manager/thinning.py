"""How long samples are kept, and which ones: the newest all, then one for each stretch of time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eventstore.errors import InvalidRequest
from eventstore.samples import Sample

MOST_ROWS_AN_AGENT = 1_000
THIN_FROM_ROWS = 900
# Of the tiers below there are at most 300 + 288 + 240 rows, and one more where two of them meet.
DENSE_ROWS = 300
MIDDLE_SECONDS = 300.0
MIDDLE_UNTIL_SECONDS = 86_400.0
COARSE_ROWS = 240
THINNED_ROWS = 840  # what thinning leaves at the most

DEFAULT_SECONDS = 10.0
DEFAULT_DAYS = 30.0
SECONDS_VARIABLE = "OUTLIVE_SAMPLE_SECONDS"
DAYS_VARIABLE = "OUTLIVE_SAMPLE_DAYS"
_LEAST_SECONDS = 0.1
_MOST_DAYS = 36_500.0


class Plan(NamedTuple):
    """How often samples are taken (0: never), for how long they are kept, and how many at the most."""

    interval_seconds: float = DEFAULT_SECONDS
    keep_days: float = DEFAULT_DAYS
    most_rows: int = 1_000_000

    @property
    def keep_seconds(self) -> float:
        """The same in seconds."""
        return self.keep_days * 86_400


def plan_of(environment: Mapping[str, str]) -> Plan:
    """What OUTLIVE_SAMPLE_SECONDS and OUTLIVE_SAMPLE_DAYS ask for. Raises `InvalidRequest`."""
    seconds = _number(environment, SECONDS_VARIABLE, DEFAULT_SECONDS)
    if seconds != 0 and not _LEAST_SECONDS <= seconds <= MIDDLE_UNTIL_SECONDS:
        raise _refusal(environment, SECONDS_VARIABLE, "0 (take none), or 0.1 to 86400")
    days = _number(environment, DAYS_VARIABLE, DEFAULT_DAYS)
    if not 0 < days <= _MOST_DAYS:
        raise _refusal(environment, DAYS_VARIABLE, "more than 0, at most 36500")
    return Plan(seconds, days)


def surplus(rows: Sequence[Sample], now: int, plan: Plan) -> list[Sample]:
    """The samples of one agent that go, at the time `now` (µs); `rows` are all it has, in order of time.

    Those of the last 300 intervals stay; of the older ones the one with the most memory for each 5 minutes, for each
    240th of the time to keep once they are a day old, none when that time is over. At most `THINNED_ROWS` stay.
    """
    kept: dict[tuple[float, int], Sample] = {}
    dense: list[Sample] = []
    for row in rows:
        age = (now - row.sampled_at) / 1e6
        if age > plan.keep_seconds:
            continue
        width = _width(age, plan)
        if width is None:
            dense.append(row)
            continue
        bucket = (width, row.sampled_at // round(width * 1e6))
        best = kept.get(bucket)
        if best is None or (row.memory_bytes or 0) > (best.memory_bytes or 0):
            kept[bucket] = row
    staying = sorted([*kept.values(), *dense], key=lambda row: row.sampled_at)[-THINNED_ROWS:]
    wanted = {row[:3] for row in staying}
    return [row for row in rows if row[:3] not in wanted]


def _width(age: float, plan: Plan) -> float | None:
    if age < DENSE_ROWS * plan.interval_seconds:
        return None
    return MIDDLE_SECONDS if age < MIDDLE_UNTIL_SECONDS else plan.keep_seconds / COARSE_ROWS


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        return float(text) if text else default
    except ValueError as error:
        raise _refusal(environment, name, "a number") from error


def _refusal(environment: Mapping[str, str], name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(
        f"cannot use {name}={environment[name]!r}: it has to be {wanted}; set it so, or unset it"
    )

"""A post-mortem as a value: what is known of one attempt's end, how certain it is, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from manager.why.material import Entry, Sample
from manager.why.parts import Alike, Asked, EarlierFailure, Followed, LeftOver, Proof, Trend, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PostMortem:
    """All that `why` tells of one attempt. Times in microseconds, UTC.

    `events`: of the attempt, the last of them where there are very many; `home_events`: coordinators and recoveries
    from before its start until after its end. `error_line`: the last line that speaks of an error, as it was written.
    `last_output_stream`: `stdout` or `stderr`; null where there is none, or an older release did not record it.
    `ended_at`: null as well where it is over and nobody saw when. `as_of`: the instant that is
    looked at, where it is not the present.
    """

    agent_id: str
    name: str
    attempt: int
    attempts: int
    state: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    requested_at: int
    started_at: int | None
    ended_at: int | None
    runtime_seconds: float | None
    verdict: Verdict
    asked: tuple[Asked, ...]
    events: tuple[Entry, ...]
    omitted_events: int
    home_events: tuple[Entry, ...]
    samples: tuple[Sample, ...]
    trend: Trend | None
    resources: Mapping[str, Any] | None
    last_output: tuple[str, ...]
    last_output_stream: str | None
    error_line: str
    left_over: LeftOver | None
    followed: Followed
    alike: Alike | None
    last_failure: EarlierFailure | None
    proof: Proof
    as_of: int | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, seen or not."""
        return self.verdict.cause != "still running"

    def as_json(self) -> dict[str, Any]:
        """The object of `why --json`: `outlive.why/1`, documented in docs/post-mortem.md."""
        from manager.why.document import as_json

        return as_json(self)

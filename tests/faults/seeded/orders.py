"""Lies about what was asked for, and about the stages of stops."""

from __future__ import annotations

import uuid

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks


@breaks("as asked for")
def a_start_in_the_name_of_another(seen: Evidence) -> None:
    """An actor that is that of whoever was served before."""
    seen.one("SPAWNING", "quick").columns["actor"] = "somebody"
    seen.save()


@breaks("as asked for")
def a_start_that_nobody_asked_for(seen: Evidence) -> None:
    """Two names that are mixed up."""
    seen.one("SPAWNING", "done").body["name"] = "another"
    seen.save()


@breaks("as asked for")
def a_signal_that_is_recorded_twice(seen: Evidence) -> None:
    """A retry of what was done."""
    event = seen.one("SIGNAL_SENT", "keeper")
    seen.put(event, "SIGNAL_SENT", signal=event.body["signal"], reason=None).columns["correlation_id"] = str(
        uuid.uuid4()
    )
    seen.save()


@breaks("as asked for")
def a_signal_of_another_number(seen: Evidence) -> None:
    """One that was not asked for, beside the one that was."""
    event = seen.one("SIGNAL_SENT", "keeper")
    seen.put(event, "SIGNAL_SENT", signal=12, reason=None).columns["correlation_id"] = str(uuid.uuid4())
    seen.save()


@breaks("as asked for")
def a_stop_that_nobody_gave(seen: Evidence) -> None:
    """An order that is taken up twice."""
    asked = seen.one("STOP_REQUESTED", "keeper")
    seen.put(asked, "STOP_REQUESTED", **asked.body).columns["correlation_id"] = str(uuid.uuid4())
    following = [event for event in seen.events if event.agent == asked.agent]
    for event in following[following.index(asked) + 2 :]:
        event.columns["correlation_id"] = following[following.index(asked) + 1].columns["correlation_id"]
    seen.save()


@breaks("as asked for")
def a_stop_that_is_called_a_limit(seen: Evidence) -> None:
    """A cause that is the wrong one of five, with all that follows from it."""
    seen.one("STOP_REQUESTED", "runner").body["cause"] = "shutdown"
    seen.save()


@breaks("as asked for")
def an_end_that_is_joined_to_nothing(seen: Evidence) -> None:
    """A correlation id for each event."""
    seen.one("ZOMBIE_REAPED", "keeper").columns["correlation_id"] = str(uuid.uuid4())
    seen.save()


@breaks("stages in time")
def a_stage_that_waits_for_less(seen: Evidence) -> None:
    """Waits that are another's."""
    seen.one("SIGKILL_SENT", "family").body["deadline_at"] -= 5_000_000
    seen.save()


@breaks("stages in time")
def a_stage_that_comes_too_soon(seen: Evidence) -> None:
    """A kill as soon as the first signal was sent."""
    seen.one("SIGKILL_SENT", "family").columns["recorded_at"] -= 200_000
    seen.save()


@breaks("stages in time")
def a_stage_that_is_left_out(seen: Evidence) -> None:
    """SIGKILL for what did not end at once."""
    seen.drop(seen.one("SIGTERM_SENT", "family", 1))
    seen.save()


@breaks("stages in time")
def a_grace_that_nobody_granted(seen: Evidence) -> None:
    """A default that goes before the spec."""
    seen.one("STOP_REQUESTED", "family").body["grace_seconds"] = [0.3, 0.3, 19.0]
    seen.one("SIGKILL_SENT", "family").body["deadline_at"] -= 1_000_000
    seen.save()


@breaks("true exit")
def resources_that_nobody_counted(seen: Evidence) -> None:
    """A figure of another unit."""
    seen.one("ZOMBIE_REAPED", "quick").body["resources"]["user_seconds"] = 4e6
    seen.save()

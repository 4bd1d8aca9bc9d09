"""Lies about starts: the intent, the identity, one start, one process at a time."""

from __future__ import annotations

import os

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks

LATE_US = 10_000  # twice what the oracle forgives
LATE_FILE_US = 100_000


@breaks("intent before exec")
def the_intent_is_recorded_after_the_exec(seen: Evidence) -> None:
    """A launch that does not wait for its commit."""
    seen.one("SPAWNING", "retry", 2).columns["recorded_at"] = seen.told_at("START", "retry", 3) + LATE_US
    seen.save()


@breaks("intent before exec", "acknowledged is kept")
def an_agent_that_the_log_never_heard_of(seen: Evidence) -> None:
    """A launch without a commit."""
    agent = seen.id("done")
    seen.drop(*[event for event in seen.events if event.agent == agent])
    seen.save()


@breaks("intent before exec")
def no_identity_was_written(seen: Evidence) -> None:
    """A gate that opens before the identity is on disk, and a shim that never comes to it."""
    (seen.directory("quick") / "identity.json").unlink()


@breaks("intent before exec")
def the_identity_was_written_late(seen: Evidence) -> None:
    """A gate that opens before the identity is on disk."""
    path = seen.directory("quick") / "identity.json"
    late = (seen.told_at("START", "quick") + LATE_FILE_US) * 1000
    os.utime(path, ns=(late, late))


@breaks("intent before exec")
def a_directory_without_an_intent(seen: Evidence) -> None:
    """An attempt that is prepared before it is recorded."""
    (seen.home / "agents" / seen.id("quick") / "2").mkdir()


@breaks("one start")
def the_program_ran_twice(seen: Evidence) -> None:
    """A request that is sent again after its answer was lost, and a directory that is no fence."""
    (line,) = seen.lines("START", "quick")
    seen.say(*line[:3], "0" * 16, int(line[4]) + 1, *line[5:])


@breaks("one live attempt", "alive is not ended", "true exit")
def two_attempts_at_once(seen: Evidence) -> None:
    """A restart that does not wait for the end of the attempt before it."""
    (second,) = seen.lines("START", "retry", 2)
    at = int(second[-1]) + 50_000_000
    (first,) = seen.lines("START", "retry", 1)
    seen.say("BEAT", *first[1:3], first[4], at, 0)


@breaks("true identity")
def the_identity_of_another(seen: Evidence) -> None:
    """Two answers of a launcher that are mixed up."""
    one, other = seen.one("STARTED", "quick"), seen.one("STARTED", "done")
    one.body["process"], other.body["process"] = other.body["process"], one.body["process"]
    seen.save()


@breaks("true identity")
def the_start_time_of_a_reused_pid(seen: Evidence) -> None:
    """An identity that is read after the process is gone and its pid used again."""
    seen.one("STARTED", "keeper").body["process"]["start_ticks"] += 7
    seen.rewrite_record(
        "keeper", "identity", start_ticks=seen.one("STARTED", "keeper").body["process"]["start_ticks"]
    )
    seen.save()


@breaks("true identity")
def an_identity_that_is_not_the_one_on_disk(seen: Evidence) -> None:
    """A coordinator that looks for itself instead of believing the shim."""
    seen.one("STARTED", "keeper").body["process"]["pidfd_inode"] += 1
    seen.save()


@breaks("true identity", "true exit")
def started_and_never_ran(seen: Evidence) -> None:
    """A start that is taken for granted, and an exit of 0 that stands for "nothing known"."""
    agent = seen.id("done")
    seen.rewrite_ledger(lambda line: None if line.split()[1] == agent else line)

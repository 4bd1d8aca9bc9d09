"""Lies about ends: guessed exits, wrong outcomes, ends that are forgotten, doubled or made up."""

from __future__ import annotations

from typing import Any

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks

UNKNOWN = {"kind": "unknown", "reason": "nobody saw it", "not_before_at": None, "not_after_at": None}
UNSEEN: dict[str, Any] = {"source": "none", "reaped_by": "nobody", "ended_at": None, "resources": None}


def code(number: int) -> dict[str, Any]:
    """An exit by a code, as the log has it."""
    return {"kind": "code", "code": number}


def lose(seen: Evidence, name: str, reason: str, **more: Any) -> None:
    """Let an agent's end be unknown in the log."""
    seen.one("ZOMBIE_REAPED", name).body.update(UNSEEN, exit={**UNKNOWN, "reason": reason, **more})
    outcome = seen.events[seen.events.index(seen.one("ZOMBIE_REAPED", name)) + 1]
    outcome.columns["type"] = "LOST"
    outcome.body = {"attempt": 1, "reason": reason}


@breaks("true exit")
def the_code_is_guessed_as_0(seen: Evidence) -> None:
    """What could not be read is taken for a success."""
    seen.one("ZOMBIE_REAPED", "quick").body["exit"] = code(0)
    failed = seen.one("FAILED", "quick")
    failed.columns["type"], failed.body = "COMPLETED", {"attempt": 1}
    seen.save()


@breaks("true exit")
def the_shim_writes_137_for_a_signal(seen: Evidence) -> None:
    """A shell's convention in the record itself: nothing in the log contradicts it."""
    seen.one("ZOMBIE_REAPED", "family").body["exit"] = code(137)
    killed = seen.one("KILLED", "family")
    killed.columns["type"] = "CANCELLED"
    seen.rewrite_record("family", "exit", kind="code", code=137, signal=None)
    seen.save()


@breaks("true exit")
def a_code_is_taken_for_a_signal(seen: Evidence) -> None:
    """A wait status that is decoded by the wrong macro."""
    seen.one("ZOMBIE_REAPED", "quick").body["exit"] = {"kind": "signal", "signal": 7, "core_dumped": False}
    seen.one("FAILED", "quick").body["cause"] = "signal"
    seen.rewrite_record("quick", "exit", kind="signal", code=None, signal=7)
    seen.save()


@breaks("true exit")
def the_wait_status_itself_is_recorded(seen: Evidence) -> None:
    """A wait status that is not decoded."""
    seen.one("ZOMBIE_REAPED", "quick").body["exit"] = code(7 << 8)
    seen.rewrite_record("quick", "exit", code=7 << 8)
    seen.save()


@breaks("true exit")
def the_exit_of_an_orphan_is_made_up(seen: Evidence) -> None:
    """A coordinator that reads an exit from a pidfd before the process was reaped."""
    seen.one("ZOMBIE_REAPED", "orphan").body["exit"] = code(0)
    failed = seen.one("FAILED", "orphan")
    failed.columns["type"], failed.body = "COMPLETED", {"attempt": 1}
    seen.save()


@breaks("true exit")
def an_exit_that_nobody_saw(seen: Evidence) -> None:
    """The unknown is filled in: killed, since it is gone."""
    lost = seen.one("ZOMBIE_REAPED", "lost")
    lost.body["exit"] = {"kind": "signal", "signal": 9, "core_dumped": False}
    outcome = seen.one("LOST", "lost")
    outcome.columns["type"] = "FAILED"
    outcome.body = {"attempt": 1, "cause": "signal", "message": "ended with signal 9"}
    seen.save()


@breaks("true exit")
def it_ended_before_its_last_word(seen: Evidence) -> None:
    """An end that is dated by the last look at a living process."""
    seen.one("ZOMBIE_REAPED", "quick").body["ended_at"] -= 200_000
    seen.save()


@breaks("true exit")
def a_record_is_named_that_is_not_there(seen: Evidence) -> None:
    """An exit that was reported over a pipe and never put on disk."""
    (seen.directory("quick") / "exit.json").unlink()


@breaks("true exit")
def a_record_is_torn(seen: Evidence) -> None:
    """A record that is written in place."""
    path = seen.directory("quick") / "exit.json"
    path.write_bytes(path.read_bytes()[:-20])


@breaks("true exit")
def a_record_of_another_attempt(seen: Evidence) -> None:
    """A record that is written into the wrong directory: what it says happened to somebody else."""
    seen.rewrite_record("quick", "exit", attempt=f"{seen.id('done')}/1")


@breaks("true exit")
def the_memory_killer_is_blamed(seen: Evidence) -> None:
    """Every SIGKILL that nobody remembers is called an out-of-memory kill."""
    seen.one("ZOMBIE_REAPED", "orphan").body["oom_killed"] = True
    seen.one("FAILED", "orphan").body["cause"] = "oom"
    seen.save()


@breaks("meaning of the end")
def a_failure_is_called_a_success(seen: Evidence) -> None:
    """An outcome by the state before it."""
    failed = seen.one("FAILED", "quick")
    failed.columns["type"], failed.body = "COMPLETED", {"attempt": 1}
    seen.save()


@breaks("meaning of the end")
def a_polite_end_is_called_a_kill(seen: Evidence) -> None:
    """Every stop ends as KILLED."""
    seen.one("CANCELLED", "keeper").columns["type"] = "KILLED"
    seen.save()


@breaks("meaning of the end")
def a_kill_is_called_a_polite_end(seen: Evidence) -> None:
    """Every stop ends as CANCELLED."""
    seen.one("KILLED", "family").columns["type"] = "CANCELLED"
    seen.save()


@breaks("meaning of the end")
def a_known_exit_is_called_lost(seen: Evidence) -> None:
    """A lost shim is taken for a lost exit."""
    outcome = seen.one("FAILED", "orphan")
    outcome.columns["type"], outcome.body = "LOST", {"attempt": 1, "reason": "shim lost"}
    seen.save()


@breaks("meaning of the end")
def a_start_is_called_failed_that_was_none(seen: Evidence) -> None:
    """A start that is given up after a while, although the program ran."""
    agent = seen.id("quick")
    seen.drop(*[one for one in seen.events if one.agent == agent and one.type != "SPAWNING"])
    failed = {"cause": "failed start", "message": "no answer", "phase": "launch", "errno": None}
    seen.put(seen.one("SPAWNING", "quick"), "FAILED", **failed)
    seen.save()


@breaks("one end", "legal transitions")
def it_ended_twice(seen: Evidence) -> None:
    """An exit that is found by the coordinator and once more by a recovery."""
    first = seen.one("ZOMBIE_REAPED", "quick")
    seen.put(seen.one("FAILED", "quick"), "ZOMBIE_REAPED", **first.body)
    seen.save()


@breaks("one end", "legal transitions", "meaning of the end")
def an_outcome_without_an_end(seen: Evidence) -> None:
    """A state that is set because the process is gone."""
    seen.drop(seen.one("ZOMBIE_REAPED", "quick"))
    seen.save()


@breaks("one end")
def an_exit_is_forgotten(seen: Evidence) -> None:
    """A recovery that looks at living processes only."""
    agent = seen.id("quick")
    gone = ("ZOMBIE_REAPED", "FAILED")
    seen.drop(*[one for one in seen.events if one.agent == agent and one.type in gone])
    seen.rewrite_lines("clients.jsonl", lambda answer: answer.update(ask=_asked(answer)))
    seen.save()


def _asked(answer: dict[str, Any]) -> str:
    return "health" if answer["ask"] == "wait" else str(answer["ask"])


@breaks("justified unknown")
def lost_without_a_fault(seen: Evidence) -> None:
    """An exit record that is read before it is renamed into place."""
    lose(seen, "quick", "shim lost: nobody saw the exit")
    (seen.directory("quick") / "exit.json").unlink()
    seen.save()


@breaks("justified unknown")
def unknown_and_on_disk(seen: Evidence) -> None:
    """A recovery that does not look into the directory."""
    lose(seen, "quick", "shim lost: nobody saw the exit")
    seen.save()


@breaks("justified unknown")
def unknown_without_a_reason(seen: Evidence) -> None:
    """No reason is given."""
    lose(seen, "lost", "")
    seen.save()


@breaks("justified unknown")
def a_reboot_that_was_none(seen: Evidence) -> None:
    """A boot id that is compared with an empty one."""
    lose(seen, "lost", "host rebooted")
    seen.save()


@breaks("justified unknown")
def unknown_and_its_pidfd_was_held(seen: Evidence) -> None:
    """A coordinator that does not ask the kernel for what it holds."""
    lose(seen, "orphan", "shim lost: nobody saw the exit")
    seen.save()


@breaks("justified unknown")
def unknown_within_wrong_bounds(seen: Evidence) -> None:
    """Bounds from the last event instead of the last look."""
    started = seen.one("STARTED", "lost").columns["occurred_at"]
    lose(seen, "lost", "shim lost: nobody saw the exit", not_before_at=started, not_after_at=started + 1000)
    seen.save()


@breaks("alive is not ended")
def it_went_on_after_its_end(seen: Evidence) -> None:
    """A process that is called ended when its watcher is."""
    (start,) = seen.lines("START", "lost")
    at = seen.one("LOST", "lost").columns["recorded_at"] * 1000 - seen.offset_ns() + 50_000_000
    last = seen.lines("BEAT", "lost")[-1]
    for beat in range(int(last[4]) + 200_000_000, at + 200_000_000, 200_000_000):
        seen.say("BEAT", *start[1:3], start[4], beat, last[5])
    lost = seen.one("ZOMBIE_REAPED", "lost")
    lost.body["exit"]["not_after_at"] = None
    seen.save()

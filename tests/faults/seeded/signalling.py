"""Lies about signals and about what agents notice."""

from __future__ import annotations

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks

TERM, PIPE = 15, 13
LATE_US = 10_000  # twice what the oracle forgives


@breaks("signal after event")
def a_signal_without_an_event(seen: Evidence) -> None:
    """A stop that is recorded, and its signal is not."""
    seen.drop(seen.one("SIGTERM_SENT", "keeper"))
    seen.save()


@breaks("signal after event", "acknowledged is kept")
def an_order_that_left_no_trace(seen: Evidence) -> None:
    """A signal that is sent and acknowledged, and not recorded."""
    seen.drop(seen.one("SIGNAL_SENT", "keeper"))
    seen.save()


@breaks("signal after event")
def the_event_comes_after_the_signal(seen: Evidence) -> None:
    """The signal first, for speed."""
    seen.one("SIGTERM_SENT", "keeper").columns["recorded_at"] = seen.told_at("SIG", "keeper") + LATE_US
    seen.save()


@breaks("signal after event")
def the_kill_comes_before_its_event(seen: Evidence) -> None:
    """The same of SIGKILL, of which no process tells."""
    ended_at = seen.one("ZOMBIE_REAPED", "family").body["ended_at"]
    seen.one("SIGKILL_SENT", "family").columns["recorded_at"] = ended_at + LATE_US
    seen.save()


@breaks("signal after event", "meaning of the end")
def a_kill_without_an_event(seen: Evidence) -> None:
    """An escalation that goes straight to SIGKILL and does not say so."""
    seen.drop(seen.one("SIGKILL_SENT", "family"))
    seen.save()


@breaks("agents notice nothing")
def a_signal_from_a_stranger(seen: Evidence) -> None:
    """A launcher that signals the group it forked into."""
    (start,) = seen.lines("START", "runner")
    at = int(seen.lines("BEAT", "runner")[-1][4])
    seen.say("SIG", *start[1:3], start[4], TERM, 4_000_000, at)


@breaks("agents notice nothing")
def a_broken_pipe(seen: Evidence) -> None:
    """Output that goes through a pipe to a coordinator that is gone."""
    (start,) = seen.lines("START", "runner")
    at = int(seen.lines("BEAT", "runner")[-1][4])
    seen.say("SIG", *start[1:3], start[4], PIPE, start[4], at)


@breaks("agents notice nothing")
def an_agent_is_held_up(seen: Evidence) -> None:
    """Output that nobody reads while there is no coordinator."""
    beats = seen.lines("BEAT", "runner")
    gap = range(int(beats[2][4]), int(beats[2][4]) + 1_500_000_000)
    agent = seen.id("runner")

    def change(line: str) -> str | None:
        words = line.split()
        return None if words[0] == "BEAT" and words[1] == agent and int(words[4]) in gap else line

    seen.rewrite_ledger(change)


@breaks("canary unharmed")
def a_canary_is_signalled(seen: Evidence) -> None:
    """A signal by number, to whoever has it now."""
    (start,) = [line.split() for line in (seen.path / "canaries").read_text().splitlines() if line[0] == "S"]
    seen.say("SIG", *start[1:3], start[4], TERM, 1234, start[-1], ledger="canaries")


@breaks("canary unharmed")
def a_canary_is_killed(seen: Evidence) -> None:
    """SIGKILL by number: it cannot tell, it is just gone."""
    path = seen.path / "canaries"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if line[0] == "S"))


def traced(seen: Evidence, *lines: str) -> None:
    """Let a trace be all of these lines, their times given as {words} of `times`."""
    place = seen.path / "trace"
    place.mkdir(exist_ok=True)
    (place / "coordinator").write_text("".join(line + "\n" for line in lines))


def _call(seen: Evidence, microseconds: int, text: str, took: int = 100) -> str:
    coordinator = seen.all("COORDINATOR_STARTED")[1].body["pid"]
    return f"{coordinator} {microseconds // 10**6}.{microseconds % 10**6:06} {text} = 0 <{took / 1e6:.6f}>"


@breaks("right target")
def a_signal_by_number(seen: Evidence) -> None:
    """kill(2) where a pidfd was meant: right most of the time."""
    event = seen.one("SIGTERM_SENT", "keeper")
    pid = seen.one("STARTED", "keeper").body["process"]["pid"]
    traced(seen, _call(seen, event.columns["recorded_at"] + 900, f"kill({pid}, SIGTERM)"))


@breaks("right target")
def a_signal_to_a_stranger(seen: Evidence) -> None:
    """A pidfd that was opened by number and not proved."""
    at = seen.one("SIGTERM_SENT", "keeper").columns["recorded_at"] + 900
    traced(seen, _call(seen, at, "pidfd_send_signal(12<pid:4000000>, SIGTERM, NULL, 0)"))


@breaks("right target")
def a_signal_to_a_shim(seen: Evidence) -> None:
    """A stop that ends the watcher with the watched."""
    shim = seen.one("STARTED", "family").body["process"]["shim_pid"]
    at = seen.one("SIGKILL_SENT", "family").columns["recorded_at"] + 900
    traced(seen, _call(seen, at, f"pidfd_send_signal(12<pid:{shim}>, SIGKILL, NULL, 0)"))


@breaks("signal after event")
def a_signal_before_its_event_is_durable(seen: Evidence) -> None:
    """An event that is written and not yet synced when the signal goes out."""
    event = seen.one("SIGTERM_SENT", "keeper")
    pid = seen.one("STARTED", "keeper").body["process"]["pid"]
    at = event.columns["recorded_at"]
    traced(
        seen,
        _call(seen, at - 5000, f"fdatasync(7<{seen.home}/events.db-wal>)"),
        _call(seen, at + 300, f"pidfd_send_signal(12<pid:{pid}>, SIGTERM, NULL, 0)"),
        _call(seen, at + 500, f"fdatasync(7<{seen.home}/events.db-wal>)"),
    )


@breaks("signal after event")
def a_signal_during_the_sync_of_its_event(seen: Evidence) -> None:
    """A sync in another thread that nobody waits for."""
    event = seen.one("SIGTERM_SENT", "keeper")
    pid = seen.one("STARTED", "keeper").body["process"]["pid"]
    at = event.columns["recorded_at"]
    traced(
        seen,
        _call(seen, at + 100, f"fdatasync(7<{seen.home}/events.db-wal>)", took=5000),
        _call(seen, at + 300, f"pidfd_send_signal(12<pid:{pid}>, SIGTERM, NULL, 0)"),
    )


@breaks("signal after event")
def a_signal_of_a_log_that_is_never_synced(seen: Evidence) -> None:
    """A database that is told to leave out the sync of each commit."""
    event = seen.one("SIGTERM_SENT", "keeper")
    pid = seen.one("STARTED", "keeper").body["process"]["pid"]
    at = event.columns["recorded_at"] + 900
    traced(seen, _call(seen, at, f"pidfd_send_signal(12<pid:{pid}>, SIGTERM, NULL, 0)"))


@breaks("intent before exec")
def an_exec_before_its_intent_is_durable(seen: Evidence) -> None:
    """The same of a start."""
    event = seen.one("SPAWNING", "retry", 1)
    pid = seen.one("STARTED", "retry", 1).body["process"]["pid"]
    at = event.columns["recorded_at"]
    call = f'{pid} {(at + 300) // 10**6}.{(at + 300) % 10**6:06} execve("/usr/bin/python3", [], 0x1) = 0 <0.000100>'
    traced(
        seen,
        _call(seen, at - 5000, f"fdatasync(7<{seen.home}/events.db-wal>)"),
        call,
        _call(seen, at + 500, f"fdatasync(7<{seen.home}/events.db-wal>)"),
    )

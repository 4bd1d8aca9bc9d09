"""What must hold of the log and the host after every step: written from the documents, not from the code."""

from __future__ import annotations

from eventstore import events as ev
from eventstore.values import ExitedWithCode, ExitUnknown
from tests.faults.oracle.fold import FINAL, MOVES, STAYS
from tests.model.host import Host, Key
from tests.model.store import FakeStore, Row

OURS = {"COMPLETED", "FAILED", "CANCELLED", "KILLED", "LOST", "ZOMBIE_REAPED"}


class BrokenPromise(AssertionError):
    """Which promise, and what breaks it."""


def require(holds: bool, promise: str, *evidence: object) -> None:
    """Raise `BrokenPromise` where it does not hold."""
    if not holds:
        raise BrokenPromise(f"{promise}: {evidence}")


def recorded_end(host: Host, row: Row) -> None:
    """At the moment in which an end becomes durable: it is over, and that is how it ended."""
    event = row.event
    assert event.attempt is not None
    key = (row.agent_id, event.attempt)
    one = host.attempt(key)
    if event.TYPE in OURS:
        require(not one.is_running, "nothing is reported as ended while it lives", key, event)
    if isinstance(event, ev.ZombieReaped):
        if isinstance(event.exit, ExitUnknown):
            require(bool(one.excuses), "unknown only where a fault took the witness away", key, event.exit)
        else:
            require(event.exit == one.end, "no exit is invented", key, event.exit, one.end)
    if isinstance(event, ev.AgentFailed) and event.cause == "failed start" and event.phase is not None:
        require(one.executions == 0, "a failed start has run nothing", key)
    if isinstance(event, ev.AgentLost):
        is_of_before = host.boots > 1 and not one.executions  # and whether its request was read, nobody knows
        require(bool(one.excuses) or is_of_before, "lost only where a fault took the witness away", key)


def host_holds(host: Host, store: FakeStore) -> None:
    """What was done to processes."""
    require(not host.wrong_signals, "no signal to a process that is not ours", host.wrong_signals)
    spawned = {(row.agent_id, row.event.attempt) for row in store.rows if row.event.TYPE == "SPAWNING"}
    living: set[str] = set()
    for key, one in host.attempts.items():
        require(one.executions <= 1, "no attempt is started twice", key)
        require(not one.executions or key in spawned, "recorded before it runs", key)
        if host.is_alive(key):
            require(key[0] not in living, "no attempt beside a living one", key)
            living.add(key[0])


def log_holds(store: FakeStore, agent_id: str) -> None:
    """The history of an agent: its order, its outcomes, what follows them."""
    state, ids, reaped, used, stopped, killed = "", set[str](), None, 0, None, False
    by_rule: str | None = None
    started_at = 0
    rows = store.of(agent_id)
    for version, row in enumerate(rows, 1):
        event, name = row.event, row.event.TYPE
        require(row.version == version and row.event_id not in ids, "no event is lost or doubled", row)
        ids.add(row.event_id)
        is_verdict = state == "EXITED"
        if name not in STAYS.get(state, set()):
            require((state, name) in MOVES, "the table is obeyed", state, name)
            state = MOVES[state, name]
        match event:
            case ev.AgentSpawning():
                reaped, stopped, killed, by_rule = None, None, False, None
            case ev.AgentStarted():
                started_at = row.at
            case ev.StopRequested():
                by_rule = event.cause if stopped is None and event.cause in ("limit", "health") else by_rule
                stopped = event.cause  # the last order counts for what follows
            case ev.SigkillSent():
                killed = True
            case ev.ZombieReaped():
                reaped = event
            case ev.RestartScheduled() | ev.RestartGivenUp():
                ran = 0.0
                if reaped is not None:
                    ran = ((reaped.ended_at or row.at) - started_at) / 1e6
                used = _what_follows(rows, event, used=used, ran=ran, stopped=stopped)
            case _:
                pass
        if is_verdict and reaped is not None:
            is_known = not isinstance(reaped.exit, ExitUnknown)
            if by_rule is not None and is_known:
                told = (event.cause, event.message) if isinstance(event, ev.AgentFailed) else None
                require(told == (by_rule, "its limit is 7"), "a rule stays why it failed", event)
                continue
            require(_fits(name, reaped, stopped, killed=killed), "the outcome fits the exit", reaped, event)


def _fits(outcome: str, reaped: ev.ZombieReaped, stopped: str | None, *, killed: bool) -> bool:
    if isinstance(reaped.exit, ExitUnknown):
        return outcome == "LOST"
    is_code = isinstance(reaped.exit, ExitedWithCode)
    if stopped is not None:
        by_kill = not is_code and getattr(reaped.exit, "signal", 0) == 9
        return outcome == ("KILLED" if killed and by_kill else "CANCELLED")
    return outcome == ("COMPLETED" if is_code and getattr(reaped.exit, "code", 1) == 0 else "FAILED")


def _what_follows(
    rows: list[Row],
    event: ev.RestartScheduled | ev.RestartGivenUp,
    *,
    used: int,
    ran: float,
    stopped: str | None,
) -> int:
    """The count of restarts that are used up after `event`, which is held against the rule."""
    assert isinstance(rows[0].event, ev.AgentSpawning)
    rule = rows[0].event.spec.restart
    if isinstance(event, ev.RestartScheduled) and "request" in event.reason:
        return event.used
    require(stopped not in ("user", "shutdown"), "who was stopped stays stopped", event)
    counted = 0 if ran >= rule.reset_after_seconds else used
    if isinstance(event, ev.RestartGivenUp):
        require(counted == rule.max_restarts, "given up when the budget is spent", event, counted)
        return used
    require(rule.max_restarts is None or counted < rule.max_restarts, "no restart beyond the budget", event)
    delay = min(rule.backoff_seconds * 2**counted, rule.backoff_limit_seconds)
    require(
        event.delay_seconds == delay and event.used == counted + 1, "the back-off is kept", event, counted
    )
    return event.used


def waited(store: FakeStore, agent_id: str, hurried: set[Key]) -> None:
    """Where no clock was set, no attempt comes before it was due, unless somebody asked for it."""
    due = 0
    for row in store.of(agent_id):
        if isinstance(row.event, ev.RestartScheduled):
            due = row.event.due_at
        elif isinstance(row.event, ev.AgentSpawning):
            is_hurried = (agent_id, row.event.attempt) in hurried
            require(is_hurried or row.at >= due, "no restart before it is due", row)


def at_rest(host: Host, store: FakeStore, agent_id: str) -> None:
    """After a recovery, when nothing more happens: the log says what is so."""
    state = store.state(agent_id)
    if state is None:
        return
    is_alive = host.is_alive((agent_id, state.attempt))
    require(state.state in FINAL | {"RUNNING"}, "all come to rest", agent_id, state.state)
    require(is_alive == (state.state == "RUNNING"), "the log says what is so", agent_id, state.state)
    seen = {row.event.attempt for row in store.of(agent_id) if row.event.TYPE in FINAL}
    ran = {key[1] for key, one in host.attempts.items() if key[0] == agent_id and one.end is not None}
    require(ran <= seen, "every end is recorded", ran - seen)

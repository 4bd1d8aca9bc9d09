"""Managers that do what nobody asked for, really run: see `tests.faults.seeded.broken`."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import manager.decide
import manager.observe
from eventstore.values import ResourceUse
from manager import AgentSpec, Manager
from manager import commands as do
from manager.coordinator import Coordinator
from manager.ledger import Ledger
from manager.origin import Origin
from manager.process.signalling import send_signal
from manager.supervisor import Supervisor
from tests.faults.seeded.broken import bug, replace_in


@bug("as asked for", is_of_recovery=True)
def recoveries_start_what_has_ended() -> None:
    """A recovery that takes every agent that does not run for one that should."""

    def make(original: Callable[..., Manager]) -> Callable[..., Manager]:
        def opened(cls: type[Manager], home: Any, *words: Any, **options: Any) -> Manager:
            found = original(home, *words, **options)
            ended = [status for status in found.statuses(all=True) if status.is_final]
            for status in ended[:1]:
                path = Path(home) / "agents" / status.id / "1" / "spec.json"
                request = json.loads(path.read_bytes())["body"]
                spec = AgentSpec(command=request["command"], env=request["env"], cwd="/")
                found._spawn([found._start(status.name, spec, request)], True, None)
            return found

        return classmethod(opened)  # type: ignore[return-value]

    Manager.open = make(Manager.open)  # type: ignore[method-assign]


@bug("as asked for")
def agents_are_started_twice() -> None:
    """A start that is asked for again where its answer is slow, under a name that is free."""

    def make(original: Any) -> Any:
        def spawn_many(manager: Manager, items: Sequence[tuple[str, Any]], *, wait: bool = True) -> Any:
            original(manager, [(f"{name}-again", spec) for name, spec in items[:1]], wait=False)
            return original(manager, items, wait=wait)

        return spawn_many

    replace_in(Manager, "spawn_many", make)


@bug("one start")
def a_program_is_started_beside_its_launch() -> None:
    """A retry of a launch whose answer is slow, past the fence."""

    def make(original: Any) -> Any:
        def start(supervisor: Supervisor, agent_id: str, request: dict[str, Any]) -> None:
            if "--code" in request["command"]:
                subprocess.Popen(request["command"], env=request["env"], cwd="/")
            original(supervisor, agent_id, request)

        return start

    replace_in(Supervisor, "_launch", make)


@bug("as asked for")
def a_stop_is_for_all() -> None:
    """A filter that is left out."""

    def make(original: Any) -> Any:
        async def stop(self: Coordinator, ids: Any, *words: Any, wait: bool) -> None:
            living = [agent for agent, state in self.ledger.states.items() if not state.is_final]
            await original(self, living, *words, wait=wait)

        return stop

    replace_in(Coordinator, "stop", make)


@bug("as asked for")
def a_signal_is_sent_twice() -> None:
    """A retry of what was done."""

    def make(original: Any) -> Any:
        async def send(self: Coordinator, *words: Any) -> None:
            await original(self, *words)
            await original(self, *words)

        return send

    replace_in(Coordinator, "signal", make)


@bug("as asked for")
def orders_are_in_the_name_of_another() -> None:
    """An actor that is that of whoever was served before."""
    replace_in(Origin, "of", lambda _: lambda _: Origin("somebody", str(uuid.uuid4())))


@bug("as asked for")
def all_orders_are_one() -> None:
    """A correlation id for each coordinator instead of each order."""
    one = str(uuid.uuid4())
    replace_in(Origin, "of", lambda _: lambda actor: Origin(actor, one))


@bug("as asked for")
def what_follows_is_not_joined() -> None:
    """A correlation id for each event."""

    def make(original: Any) -> Any:
        def believe(ledger: Ledger, agent_id: str, state: Any, _: str, event_id: str) -> None:
            original(ledger, agent_id, state, str(uuid.uuid4()), event_id)

        return believe

    replace_in(Ledger, "believe", make)


@bug("as asked for")
def a_stop_is_called_a_limit() -> None:
    """A cause that is the wrong one of five."""

    def make(original: Any) -> Any:
        return lambda state, command, now: original(state, replace(command, cause="limit"), now)

    replace_in(manager.decide, "_request_stop", make)


@bug("stages in time")
def half_of_the_grace_is_kept() -> None:
    """Waits that are shorter than what is recorded of them."""
    replace_in(manager.decide, "later", lambda original: lambda now, seconds: original(now, seconds / 2))


@bug("stages in time")
def no_grace_is_as_asked_for() -> None:
    """A default that goes before the spec."""

    def make(original: Any) -> Any:
        def request(state: Any, command: do.RequestStop, now: int) -> Any:
            return original(state, replace(command, grace_seconds=(2.0, 2.0, 2.0)), now)

        return request

    replace_in(manager.decide, "_request_stop", make)


@bug("stages in time")
def stages_do_not_wait() -> None:
    """A deadline that is recorded and not looked at."""
    from manager import stops

    replace_in(stops, "until_next_stage", lambda _: lambda *_: 0.0)
    replace_in(manager.decide, "_advance_stop", _hasty)


def _hasty(original: Any) -> Any:
    @functools.wraps(original)
    def advance(state: Any, command: do.AdvanceStop, now: int) -> Any:
        deadline = getattr(getattr(state.phase, "stop", None), "deadline_at", None)
        events = original(state, command, max(now, deadline or 0))
        return [
            replace(event, deadline_at=event.deadline_at - max(0, (deadline or 0) - now))
            if hasattr(event, "deadline_at")
            else event
            for event in events
        ]

    return advance


@bug("stages in time")
def descendants_are_not_warned() -> None:
    """SIGKILL for a tree where the log says SIGTERM."""
    from manager import stopping

    def make(original: Any) -> Any:
        def send(attachment: Any, signum: int, *, whole_tree: bool) -> None:
            if whole_tree and signum == signal.SIGTERM:
                for process in attachment.members():
                    if process.pid != attachment.process.pid:
                        send_signal(process, signal.SIGKILL)
            else:
                original(attachment, signum, whole_tree=whole_tree)

        return send

    replace_in(stopping, "_signal", make)


@bug("true exit")
def resources_are_made_up() -> None:
    """A figure of another unit."""
    made_up = ResourceUse(user_seconds=4e6, system_seconds=0.1, max_memory_bytes=None)

    def make(original: Any) -> Any:
        return lambda attempt, command: original(attempt, replace(command, resources=made_up))

    replace_in(manager.decide, "_reaped", make)

"""`stop`, `kill` and `signal`: each waits for what it did to be observed, and tells it as it happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import click

from eventstore.errors import InvalidRequest, OutliveError, StoreUnavailable
from manager.cli import exit_codes
from manager.cli.options import GRACE, SIGNAL, agent_argument, agents_argument
from manager.cli.session import Session, changing_options, complain, current, say, write, write_json
from manager.cli.times import MICROSECONDS
from projections.quantities import duration_text
from projections.sentences import exit_text, sentence, signal_name

if TYPE_CHECKING:
    from manager.door import Door
    from manager.status import AgentStatus

POLL_SECONDS = 0.05
_STAGES = ("STOP_REQUESTED", "SIGTERM_SENT", "SIGKILL_SENT", "STOP_TIMED_OUT", "ZOMBIE_REAPED", "CANCELLED")

Grace = tuple[float, float, float]


@click.command("stop")
@agents_argument(required=False)
@click.option("--all", "every", is_flag=True, help="Every agent that has not ended.")
@click.option(
    "--grace", type=GRACE, help="Waits after SIGTERM, SIGTERM to the tree, SIGKILL [as the agent says]."
)
@click.option("--reason", metavar="TEXT", help="Why: it goes into the log.")
@click.option("--no-wait", is_flag=True, help="Return when the first signal is sent.")
@changing_options
def stop_command(
    *, agents: tuple[str, ...], every: bool, grace: Grace | None, reason: str | None, no_wait: bool
) -> int:
    """Stop agents: SIGTERM, SIGTERM to the whole tree, SIGKILL to the whole tree; all of them side by side.

    One that has ended already is no error.
    """
    return _end(
        agents,
        every,
        lambda door, ids: door.stop(ids, grace=grace, reason=reason, wait=not no_wait),
        is_waited=not no_wait,
    )


@click.command("kill")
@agents_argument(required=True)
@click.option("--reason", metavar="TEXT", help="Why: it goes into the log.")
@click.option("--no-wait", is_flag=True, help="Return when the signal is sent.")
@changing_options
def kill_command(*, agents: tuple[str, ...], reason: str | None, no_wait: bool) -> int:
    """SIGKILL to the whole tree of agents at once, without asking them first."""
    return _end(
        agents,
        False,
        lambda door, ids: door.kill(ids, reason=reason, wait=not no_wait),
        is_waited=not no_wait,
    )


@click.command("signal")
@agent_argument()
@click.option(
    "-s", "--signal", "number", type=SIGNAL, required=True, metavar="SIG", help="TERM, SIGUSR1, 15, …"
)
@click.option("--reason", metavar="TEXT", help="Why: it goes into the log.")
@changing_options
def signal_command(*, agent: str, number: int, reason: str | None) -> int:
    """Send one signal to AGENT's main process; exit 3 when it is not running."""
    session = current()
    view = session.view()
    status = view.agent(agent, vitals=False)
    if not status.is_final:
        try:
            with session.door() as door:
                status = door.signal(status.id, number, reason=reason)
        except InvalidRequest:
            # Its end may not have been recorded until just now.
            status = view.agent(status.id, vitals=False)
            if not status.is_final:
                raise
    if status.is_final:
        complain(
            f"cannot signal {status.name}: it is {status.state}; start it again with `outlive restart {status.name}`"
        )
        return exit_codes.NOT_RUNNING
    if session.json:
        write_json(status.as_json())
    else:
        write(f"{status.name}\t{signal_name(number)} sent to process {status.pid}")
    return exit_codes.DONE


def _end(
    references: Sequence[str],
    every: bool,
    order: Callable[[Door, list[str]], list[AgentStatus]],
    *,
    is_waited: bool,
) -> int:
    if bool(references) == every:
        raise click.UsageError(
            "give AGENT... or --all" if not references else "give AGENT... or --all, not both"
        )
    session = current()
    try:
        view = session.view()
        if every:
            found = view.agents(vitals=False)
        else:
            found = list({status.id: status for status in map(view.agent, references)}.values())
    except StoreUnavailable as away:
        _show(session, _without_the_log(session, references, order, away))
        return exit_codes.DONE
    live = [status for status in found if not status.is_final]
    for status in found:
        if status.is_final:
            say(f"{status.name}: already ended: {status.state}{_how(status)}")
    results = [status for status in found if status.is_final]
    if live:
        results += _carry_out(session, live, order)
    elif every:
        say("nothing to stop: no agent runs")
    _show(session, results)
    timed_out = [status for status in results if is_waited and not status.is_final]
    for status in timed_out:
        complain(
            f"cannot confirm that {status.name} has ended: it is {status.state}; see `outlive status {status.name}`"
        )
    return exit_codes.TIMED_OUT if timed_out else exit_codes.DONE


def _without_the_log(
    session: Session,
    references: Sequence[str],
    order: Callable[[Door, list[str]], list[AgentStatus]],
    away: StoreUnavailable,
) -> list[AgentStatus]:
    """By the coordinator that runs, which knows its living agents by name; nobody else does."""
    from manager.control import NoCoordinator

    if not references:
        raise away
    try:
        with session.door(only_asks=True) as door:
            return order(door, list(references))
    except NoCoordinator as nobody:
        raise StoreUnavailable(
            f"{away}; no coordinator runs, which would know {', '.join(references)} without it: try again when it is"
            f" back; until then, what runs has its name and pid in {session.home}/agents/*/*/status.json"
        ) from nobody


def _carry_out(
    session: Session, live: Sequence[AgentStatus], order: Callable[[Door, list[str]], list[AgentStatus]]
) -> list[AgentStatus]:
    with session.door() as door, Stages(session, live):
        return order(door, [status.id for status in live])


class Stages:
    """Prints the stages of stops as the log records them, in a thread of its own with its own connection."""

    def __init__(self, session: Session, agents: Sequence[AgentStatus]) -> None:
        self._session = session
        self._names = {f"agent/{status.id}": status.name for status in agents}
        self._began: dict[str, int] = {}
        self._over = threading.Event()
        self._after = session.view().reader.head().position
        self._thread = threading.Thread(target=self._follow, name="outlive-stages", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        try:
            reader = self._session.view().reader
            while True:
                is_last = self._over.is_set()
                head = reader.head().position
                for event in reader.events(after=self._after, until=head, types=_STAGES):
                    name = self._names.get(event.stream)
                    if name is not None:
                        began = self._began.setdefault(event.stream, event.occurred_at)
                        took = duration_text((event.occurred_at - began) / MICROSECONDS)
                        say(f"{name}: {took}  {sentence(event.type, json.loads(event.data))}")
                self._after = max(self._after, head)
                if is_last:
                    return
                self._over.wait(POLL_SECONDS)
        except OutliveError as error:
            say(f"the stages cannot be shown: {error}")


def _show(session: Session, results: Sequence[AgentStatus]) -> None:
    if session.json:
        write_json({"schema": "outlive.agents/1", "agents": [status.as_json() for status in results]})
        return
    for status in results:
        write(f"{status.name}\t{status.state}\t{_how(status).removeprefix(', ') or '-'}")


def _how(status: AgentStatus) -> str:
    return "" if status.exit is None else f", {exit_text(status.exit.as_json())}"

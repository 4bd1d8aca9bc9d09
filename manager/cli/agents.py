"""`ps` and `health`: many agents at once, read without a lock and without a coordinator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from manager.cli import exit_codes
from manager.cli.options import PAIR, agents_argument
from manager.cli.render import Column, console, plain_table, rich_table, show_table
from manager.cli.session import Session, current, now, shared_options, write, write_json
from manager.cli.times import in_zone
from projections.quantities import duration_text, size_text

if TYPE_CHECKING:
    from manager.status import AgentStatus
    from manager.view import View

SCHEMA = "outlive.agents/1"
STATES = (
    "SPAWNING",
    "RUNNING",
    "STOPPING",
    "EXITED",
    "BACKOFF",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "KILLED",
    "LOST",
)
WATCH_SECONDS = 1.0

_COLUMNS = (
    Column("NAME"),
    Column("ID"),
    Column("STATE"),
    Column("ATTEMPT", is_number=True),
    Column("PID", is_number=True),
    Column("UP", is_number=True),
    Column("CPU%", is_number=True),
    Column("MEMORY", is_number=True),
    Column("PROCS", is_number=True),
    Column("NOTE"),
)


@click.command("ps")
@click.option("-a", "--all", "every", is_flag=True, help="Those that have ended, too.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES, case_sensitive=False),
    metavar="STATE",
    help="Only in this state (repeat for more); a final state implies --all.",
)
@click.option(
    "--label", "labels", multiple=True, type=PAIR, metavar="K=V", help="Only with this label (repeat: and)."
)
@click.option(
    "--all-hosts", "everywhere", is_flag=True, help="Those of every home whose log this is, as HOST/NAME."
)
@click.option("-w", "--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@shared_options
def ps_command(
    *,
    every: bool,
    states: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    everywhere: bool,
    watch: bool,
) -> int:
    """Table of agents: those that have not ended, or `--all`."""
    session = current()
    view = session.view()
    placed = everywhere or (view.scope.is_shared and view.scope.own is None)

    def look() -> list[AgentStatus]:
        return view.agents(
            all=every or _has_final(states), states=states, labels=dict(labels), all_hosts=everywhere
        )

    if watch:
        session.require_present("--watch")
        _watch(session, view, look, placed=placed)
    elif session.json:
        write_json(document(view, look()))
    else:
        found = look()
        show_table(
            session,
            _COLUMNS,
            _rows(found, is_short=session.is_terminal, placed=placed, utc=session.utc),
            caption=_caption(found),
        )
    return exit_codes.DONE


@click.command("health")
@agents_argument(required=False)
@shared_options
def health_command(*, agents: tuple[str, ...]) -> int:
    """Quick check of agents, or of all that have not ended; exit 3 when one is not running well."""
    session = current()
    view = session.view()
    references = agents or tuple(agent.id for agent in view.agents(vitals=False))
    checks = view.health(references)
    if session.json:
        write_json(
            {
                "schema": "outlive.health/1",
                "generated_at": _now_text(),
                "checks": [c.as_json() for c in checks],
            }
        )
    else:
        columns = (Column("NAME"), Column("STATE"), Column("HEALTH"), Column("OK"), Column("NOTE"))
        rows = [
            (c.name, c.state, c.health, "yes" if c.is_ok else "no", in_zone(c.why, utc=session.utc))
            for c in checks
        ]
        show_table(session, columns, rows)
    return exit_codes.DONE if all(check.is_ok for check in checks) else exit_codes.NOT_RUNNING


def document(view: View, agents: Sequence[AgentStatus]) -> dict[str, Any]:
    """What `ps --json` prints; see `docs/cli.md`."""
    return {**preamble(view), "agents": [agent.as_json() for agent in agents]}


def preamble(view: View) -> dict[str, Any]:
    """Schema, time, and how far the log had come; position 0 and no hash where nothing was ever recorded."""
    from eventstore.record import rfc3339

    head = None if view.is_empty else view.reader.head()
    return {
        "schema": SCHEMA,
        "generated_at": _now_text(),
        **({} if view.as_of is None else {"as_of": rfc3339(view.as_of)}),
        "head": {"position": head.position if head else 0, "hash": head.hash.hex() if head else None},
    }


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """For each id its shortest beginning, of 8 characters or more, that no other of them has."""
    length = 8
    while len({text[:length] for text in ids}) < len(set(ids)):
        length += 1
    return {text: text[:length] for text in ids}


def _watch(session: Session, view: View, look: Any, *, placed: bool) -> None:
    if not session.is_terminal:
        while True:
            found = look()
            if session.json:
                write_json(document(view, found))
            else:
                rows = _rows(found, is_short=False, placed=placed, utc=session.utc)
                write(plain_table(_COLUMNS, rows) + "\n")
            time.sleep(WATCH_SECONDS)
    from rich.live import Live

    screen = console(session)
    with Live(console=screen, auto_refresh=False, screen=True) as live:
        while True:
            found = look()
            rows = _rows(found, is_short=True, placed=placed, utc=session.utc)
            live.update(rich_table(_COLUMNS, rows, width=screen.width, caption=_caption(found)), refresh=True)
            time.sleep(WATCH_SECONDS)


def _rows(agents: Sequence[AgentStatus], *, is_short: bool, placed: bool, utc: bool) -> list[tuple[str, ...]]:
    ids = short_ids([agent.id for agent in agents]) if is_short else {}
    return [
        (
            f"{agent.host}/{agent.name}" if placed else agent.name,
            ids.get(agent.id, agent.id),
            agent.state,
            str(agent.attempt),
            _number(agent.pid if agent.is_running else None),
            duration_text(agent.runtime_seconds),
            "-" if agent.vitals.cpu_percent is None else f"{agent.vitals.cpu_percent:.1f}",
            size_text(agent.vitals.memory_bytes),
            _number(agent.vitals.processes),
            in_zone(agent.note, utc=utc),
        )
        for agent in agents
    ]


def _caption(agents: Sequence[AgentStatus]) -> str:
    live = sum(agent.is_running for agent in agents)
    waiting = sum(agent.state == "BACKOFF" for agent in agents)
    ended = sum(agent.is_final for agent in agents)
    parts = [f"{live} live"] + [f"{n} {what}" for n, what in ((waiting, "waiting"), (ended, "ended")) if n]
    return f"{len(agents)} agent{'' if len(agents) == 1 else 's'}: {', '.join(parts)}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _has_final(states: Sequence[str]) -> bool:
    return any(STATES.index(state.upper()) >= STATES.index("COMPLETED") for state in states)


def _now_text() -> str:
    from eventstore.record import rfc3339

    return rfc3339(now())

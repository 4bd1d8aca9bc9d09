"""`status`: one screen about each agent, as `systemctl status` has it."""

from __future__ import annotations

import json
import shlex
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from manager.cli import exit_codes, sanitize
from manager.cli.agents import preamble
from manager.cli.options import agents_argument
from manager.cli.render import STATE_STYLES
from manager.cli.session import Session, current, now, shared_options, write, write_json
from manager.cli.times import MICROSECONDS, from_rfc3339, in_zone, time_text
from manager.limits import limits_text, recorded_limits, recorded_part
from manager.silence import allowed_text
from projections.quantities import counted, duration_text, size_text
from projections.sentences import exit_text, sentence

if TYPE_CHECKING:
    from eventstore.record import RecordedEvent
    from manager.status import AgentStatus
    from manager.view import ProcessRow, View

LAST_EVENTS = 5
LAST_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Everything that `status` shows of one agent `at` an instant. `process`: the recorded one of this attempt.

    `spawning`: what SPAWNING says of it, its spec among that.
    """

    status: AgentStatus
    at: int
    process: Mapping[str, Any] | None
    spawning: Mapping[str, Any]
    tree: list[ProcessRow]
    events: list[RecordedEvent]
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The agent object of `ps --json`, and more."""
        return {
            **self.status.as_json(),
            "limits": recorded_part(self.spawning, "limits"),
            "health_rule": recorded_part(self.spawning, "health"),
            "process": None if self.process is None else dict(self.process),
            "process_tree": [
                {
                    "pid": row.pid,
                    "parent_pid": row.parent_pid,
                    "depth": row.depth,
                    "command": row.command,
                    "memory_bytes": row.memory_bytes,
                    "cpu_seconds": row.cpu_seconds,
                }
                for row in self.tree
            ],
            "last_events": [event.as_json() for event in self.events],
            "last_output": {"stdout": list(self.stdout), "stderr": list(self.stderr)},
        }


@click.command("status")
@agents_argument(required=True)
@shared_options
def status_command(*, agents: tuple[str, ...]) -> int:
    """One screen about each AGENT; exit 3 when one of them is not running."""
    session = current()
    view = session.view()
    screens = [look(view, view.agent(reference)) for reference in agents]
    if session.json:
        write_json({**preamble(view), "agents": [screen.as_json() for screen in screens]})
    else:
        write("\n\n".join("\n".join(lines(screen, session)) for screen in screens))
    return exit_codes.DONE if all(screen.status.is_running for screen in screens) else exit_codes.NOT_RUNNING


def look(view: View, status: AgentStatus) -> Screen:
    """Gather what the log, the files and the system say of one agent."""
    process: Mapping[str, Any] | None = None
    spawning: Mapping[str, Any] = {}
    last: deque[RecordedEvent] = deque(maxlen=LAST_EVENTS)
    for event in view.reader.events(stream=f"agent/{status.id}"):
        last.append(event)
        if event.type == "SPAWNING":
            process, spawning = None, json.loads(event.data)
        elif event.type == "STARTED":
            process = json.loads(event.data).get("process")
    stdout, stderr = view.last_lines(status, LAST_LINES)
    return Screen(
        status=status,
        at=view.as_of or now(),
        process=process,
        spawning=spawning,
        tree=view.tree(status) if status.is_alive else [],
        events=list(last),
        stdout=stdout,
        stderr=stderr,
    )


def lines(screen: Screen, session: Session) -> list[str]:
    """The screen as text."""
    status = screen.status
    since = from_rfc3339(status.state_since)
    shown = _coloured(session, status.state)
    head = f"{sanitize.one_line(status.name)} · {status.id}"
    ago = duration_text((screen.at - since) / MICROSECONDS)
    facts = [
        ("state", f"{shown} since {time_text(since, utc=session.utc)} ({ago} ago), attempt {status.attempt}"),
        ("command", shlex.join(status.command)),
        ("directory", status.cwd or "-"),
        ("process", _process(screen)),
        ("exit", _exit(status)),
        ("health", status.health),
        ("uses", _uses(status)),
        ("limits", limits_text(recorded_limits(screen.spawning))),
        ("rule", allowed_text(screen.spawning)),
        ("labels", " ".join(f"{name}={text}" for name, text in sorted(status.labels.items()))),
        ("note", in_zone(status.note, utc=session.utc)),
    ]
    text = [head, *(f"  {name:<10}{_clean(value, shown)}" for name, value in facts if value)]
    text += _section("processes", [_tree_row(row) for row in screen.tree])
    text += _section("events", [_event(event, session) for event in screen.events])
    text += _section("stdout", list(screen.stdout))
    return text + _section("stderr", list(screen.stderr))


def _clean(value: str, shown: str) -> str:
    # The state's colour is ours; all else may be somebody's text.
    if value.startswith(shown):
        return shown + sanitize.one_line(value[len(shown) :])
    return sanitize.one_line(value)


def _coloured(session: Session, state: str) -> str:
    if not session.is_coloured:
        return state
    codes = {"green": "32", "cyan": "36", "yellow": "33", "dim": "2", "bold red": "1;31", "red": "31"}
    return f"\x1b[{codes.get(STATE_STYLES.get(state, ''), '35')}m{state}\x1b[0m"


def _process(screen: Screen) -> str:
    if screen.process is None:
        return "none was recorded"
    where = "" if screen.status.is_running else " (gone)"
    identity = screen.process
    return (
        f"{identity['pid']}{where}, started at tick {identity['start_ticks']} of boot {identity['boot_id']}, "
        f"shim {identity['shim_pid']}"
    )


def _exit(status: AgentStatus) -> str:
    if status.exit is None:
        return ""
    parts = [exit_text(status.exit.as_json())]
    if status.outcome:
        parts.append(status.outcome)
    if status.message:
        parts.append(status.message)
    return " · ".join(parts)


def _uses(status: AgentStatus) -> str:
    if not status.is_running or not status.vitals.processes:
        return ""
    vitals = status.vitals
    cpu = "-" if vitals.cpu_percent is None else f"{vitals.cpu_percent:.1f} %"
    return (
        f"CPU {cpu}, memory {size_text(vitals.memory_bytes)}, {_known(vitals.threads, 'thread')}, "
        f"{_known(vitals.processes, 'process', 'processes')}, up {duration_text(status.runtime_seconds)}"
    )


def _known(count: int | None, noun: str, plural: str = "") -> str:
    return counted(count, noun, plural) if count else f"- {plural or noun + 's'}"


def _tree_row(row: ProcessRow) -> str:
    branch = "" if row.depth == 0 else "  " * (row.depth - 1) + "└ "
    return f"{branch}{row.pid} {row.command}  ({size_text(row.memory_bytes)}, CPU {row.cpu_seconds:.1f}s)"


def _event(event: RecordedEvent, session: Session) -> str:
    when = time_text(event.occurred_at, utc=session.utc)
    return f"{when}  {sentence(event.type, json.loads(event.data))}  [{event.actor}]"


def _section(title: str, rows: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {sanitize.output(row)}" for row in rows)] if rows else []

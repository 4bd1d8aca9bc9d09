"""`events`: the log, one sentence a line for people, one JSON object a line for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from eventstore.errors import InvalidRequest
from manager.cli import exit_codes, sanitize
from manager.cli.options import INSTANT, MOST, agent_argument
from manager.cli.session import Session, current, shared_options, write, write_json
from manager.cli.times import time_text
from projections.sentences import SENTENCES, sentence

if TYPE_CHECKING:
    from eventstore.reader import Reader
    from eventstore.record import RecordedEvent
    from manager.view import View

POLL_SECONDS = 0.1


@click.command("events")
@agent_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is still to come, until Ctrl-C.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(sorted(SENTENCES), case_sensitive=False),
    metavar="TYPE",
    help="Only events of this type, like FAILED (repeat for more).",
)
@click.option("--actor", help="Only what this actor did.")
@click.option("--correlation", metavar="ID", help="Only what belongs to one order, by its correlation id.")
@click.option(
    "--caused-by",
    type=click.IntRange(min=1),
    metavar="POSITION",
    help="Only what the event at POSITION led to, at once or in the end.",
)
@click.option("--since", type=INSTANT, help="From this time on: RFC 3339, or 10m, 2h, 3d for that long ago.")
@click.option("--until", type=INSTANT, help="Up to this time.")
@click.option(
    "--after",
    type=click.IntRange(min=0, max=MOST),
    default=0,
    metavar="POSITION",
    help="Only later positions.",
)
@shared_options
def events_command(
    *,
    agent: str | None,
    follow: bool,
    types: tuple[str, ...],
    actor: str | None,
    correlation: str | None,
    caused_by: int | None,
    since: int | None,
    until: int | None,
    after: int,
) -> int:
    """Events of the log, or of one AGENT, in the order in which they were recorded.

    `--since` and `--until` go by the time at which an event was recorded, which never runs backwards in the log.
    """
    from projections.reporting import check_period

    session = current()
    check_period(since, until)
    if follow:
        session.require_present("--follow")
    view = session.view()
    stream = None if agent is None else f"agent/{view.agent(agent).id}"
    while view.is_empty:
        if not follow:
            return exit_codes.DONE
        time.sleep(POLL_SECONDS)
        view = session.view()
    names = Names(view)
    start = after if since is None else max(after, view.reader.position_before(since))
    source = _followed if follow else _stored
    if caused_by is None:
        events = source(view.reader, after=start, stream=stream, types=types)
    else:
        all_later = source(view.reader, after=caused_by, stream=None, types=())
        events = led_to(_event_at(view.reader, caused_by), all_later, after=start, stream=stream, types=types)
    for event in events:
        if until is not None and event.recorded_at > until:
            break
        if actor in (None, event.actor) and correlation in (None, event.correlation_id):
            _print(session, names, event)
    return exit_codes.DONE


def led_to(
    cause: RecordedEvent,
    later: Iterable[RecordedEvent],
    *,
    after: int,
    stream: str | None,
    types: Collection[str],
) -> Iterator[RecordedEvent]:
    """Of the events `later` than `cause` those that it led to, and of these the ones that were asked for."""
    ids = {cause.event_id}  # a cause is recorded before what it leads to
    for event in later:
        if event.causation_id not in ids:
            continue
        ids.add(event.event_id)
        if event.position > after and stream in (None, event.stream) and (not types or event.type in types):
            yield event


def _event_at(reader: Reader, position: int) -> RecordedEvent:
    found = next(reader.events(after=position - 1, until=position), None)
    if found is None:
        raise InvalidRequest(f"cannot tell what position {position} led to: the log has no such event")
    return found


class Names:
    """Names of agents by stream, learnt from what passes; of those that began before, from the view, one by one."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[str, str] = {}

    def of(self, event: RecordedEvent) -> str:
        """The agent's name; `-` for an event that is not an agent's."""
        kind, _, agent_id = event.stream.partition("/")
        if kind != "agent":
            return "-"
        if event.type == "SPAWNING":
            self._known[agent_id] = str(json.loads(event.data).get("name", agent_id))
        if agent_id not in self._known:
            found = self._view.reader.rows("SELECT name FROM agents WHERE agent_id = ?", (agent_id,))
            self._known[agent_id] = found[0][0] if found else agent_id
        return self._known[agent_id]


def line(event: RecordedEvent, name: str, *, utc: bool) -> str:
    """Time, name, type, sentence, actor."""
    text = sentence(event.type, json.loads(event.data))
    when = time_text(event.occurred_at, utc=utc)
    return sanitize.one_line(f"{when}  {name}  {event.type}  {text}  [{event.actor}]")


def _stored(
    reader: Reader, *, after: int, stream: str | None, types: Collection[str]
) -> Iterator[RecordedEvent]:
    return reader.events(after=after, stream=stream, types=types)


def _followed(
    reader: Reader, *, after: int, stream: str | None, types: Collection[str]
) -> Iterator[RecordedEvent]:
    while True:
        head = reader.head().position  # read first: the filtered query must not skip what comes during it
        yield from reader.events(after=after, until=head, stream=stream, types=types)
        after = max(after, head)
        time.sleep(POLL_SECONDS)


def _print(session: Session, names: Names, event: RecordedEvent) -> None:
    if session.json:
        write_json(event.as_json())
    else:
        write(line(event, names.of(event), utc=session.utc))

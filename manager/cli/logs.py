"""`logs`: what agents wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from eventstore.errors import InvalidRequest
from manager.cli import exit_codes, sanitize
from manager.cli.options import agents_argument
from manager.cli.searching import Search
from manager.cli.session import current, shared_options, write, write_json
from manager.cli.tailing import POLL_SECONDS, AgentTail, Ending, Lines, Stream

if TYPE_CHECKING:
    from manager.status import AgentStatus
    from manager.view import View


@dataclass
class _Source:
    status: AgentStatus
    tail: AgentTail
    ending: Ending
    lines: Lines = field(default_factory=Lines)
    is_over: bool = False


@click.command("logs")
@agents_argument(required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the agents have ended, over their restarts.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Begin with the last N lines.")
@click.option("--stderr", is_flag=True, help="stderr instead of stdout.")
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Output of this attempt, not of the latest."
)
@click.option("--grep", "pattern", metavar="RE", help="Only lines that match this regular expression.")
@click.option("--raw", is_flag=True, help="As written: control characters are not escaped.")
@shared_options
def logs_command(
    *,
    agents: tuple[str, ...],
    follow: bool,
    lines: int | None,
    stderr: bool,
    attempt: int | None,
    pattern: str | None,
    raw: bool,
) -> int:
    """Output of agents; several of them are told apart by their names in front of each line.

    `-n` counts lines before `--grep` looks at them, and only the first 4096 characters of a line are searched.
    """
    session = current()
    view = session.view()
    stream: Stream = "stderr" if stderr else "stdout"
    sources = []
    for status in [view.agent(reference) for reference in agents]:
        if not view.scope.holds(status):
            raise InvalidRequest(
                f"cannot show the output of {status.name}: its output is on host {status.host}, in home {status.home};"
                " ask there"
            )
        tail = AgentTail(view, stream, attempt=_attempt(status, attempt), is_pinned=attempt is not None)
        if lines is not None:
            tail.skip_to_last(status, lines)
        sources.append(_Source(status=status, tail=tail, ending=Ending(session.home)))
    show = str if raw else sanitize.coloured if session.is_coloured else sanitize.output
    search = None if pattern is None else Search(pattern)
    printer = _Printer(search, show, is_named=len(sources) > 1, is_json=session.json)
    while True:
        for source in sources:
            source.is_over = source.ending.seen(source.status)
            _advance(source, printer)
        if not follow or all(source.is_over for source in sources):
            break
        time.sleep(POLL_SECONDS)
        _look_again(view, sources)
    for source in sources:
        printer.show(source.status, source.lines.finish())
    return exit_codes.DONE


class _Printer:
    """Writes the lines that match."""

    def __init__(
        self,
        search: Search | None,
        show: Callable[[str], str],
        *,
        is_named: bool,
        is_json: bool,
    ) -> None:
        self._search = search
        self._show = show
        self._is_named = is_named
        self._is_json = is_json

    def show(self, status: AgentStatus, lines: Sequence[str]) -> None:
        """Write those of the agent's lines that are wanted."""
        for line in lines:
            if self._search is not None and not self._search.finds(line):
                continue
            if self._is_json:
                write_json({"agent": status.name, "id": status.id, "line": line})
                continue
            text = self._show(line)
            write(f"{sanitize.one_line(status.name)} | {text}" if self._is_named else text)


def _attempt(status: AgentStatus, wanted: int | None) -> int:
    if wanted is not None and wanted > status.attempt:
        raise InvalidRequest(
            f"cannot show attempt {wanted} of {status.name}: it has had {status.attempt}; leave --attempt out"
        )
    return wanted or status.attempt


def _advance(source: _Source, printer: _Printer) -> None:
    for chunk in source.tail.read(source.status):
        printer.show(source.status, source.lines.feed(chunk))


def _look_again(view: View, sources: Sequence[_Source]) -> None:
    for source in sources:
        if not source.is_over:
            source.status = view.agent(source.status.id)

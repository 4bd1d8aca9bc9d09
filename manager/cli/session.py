"""What every command shares: the global options, where to write, and the two ways to the agents (view and door)."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manager.cli import sanitize

if TYPE_CHECKING:
    from manager.door import Door
    from manager.past import Moment
    from manager.view import View

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Session:
    """The global options of one invocation. Building one opens nothing."""

    home_option: str | None = None
    database_url: str | None = None
    json: bool = False
    no_color: bool = False
    utc: bool = False
    verbose: bool = False
    takeover: bool = False
    moment: Moment | None = None
    is_warned: bool = False

    @property
    def home(self) -> Path:
        """The home that `--home`, OUTLIVE_HOME or the XDG state directory names; it need not exist."""
        from manager.home import find_home

        return find_home(self.home_option)

    @property
    def database(self) -> str:
        """URL of the database: what was given, else SQLite in the home."""
        return self.database_url or f"sqlite:///{self.home / 'events.db'}"

    def view(self) -> View:
        """For reading: takes no lock, asks nobody. Raises `StoreUnavailable`, `StoreDamaged` or `SchemaMismatch`.

        Shows the past where a moment is set. What speaks against the log is told on stderr, once.
        """
        from manager.view import View

        view = View.open(self.home, self.database_url)
        if self.moment is not None:
            from manager.past import view_at

            view = view_at(view, self.moment, now=now())
        if view.doubt and not self.is_warned:
            say(f"outlive: do not trust what the log says: {view.doubt}; see `outlive verify`")
            self.is_warned = True
        if view.notice and not self.is_warned:
            say(f"outlive: {view.notice}")
            self.is_warned = True
        if view.lag and not self.is_warned:
            say(f"outlive: this is not the newest: {view.lag}")
            self.is_warned = True
        return view

    def door(self, *, only_asks: bool = False) -> AbstractContextManager[Door]:
        """For changing: as a short-lived coordinator, or by the one that holds the home (`only_asks`: by it alone)."""
        from manager.door import open_door

        return open_door(
            self.home, self.database_url, actor=actor(), takeover=self.takeover, only_asks=only_asks
        )

    def require_present(self, option: str) -> None:
        """Raise `InvalidRequest` for an option that waits for something new where the past is shown."""
        if self.moment is not None:
            from eventstore.errors import InvalidRequest

            raise InvalidRequest(f"cannot wait for news with {option}: the past is over; leave it out")

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads stdout."""
        return sys.stdout.isatty()

    @property
    def is_coloured(self) -> bool:
        """Whether they want to see colours."""
        return self.is_terminal and not (self.no_color or os.environ.get("NO_COLOR"))


def actor() -> str:
    """Who the log will say it was: the user, and that it was by the command line."""
    return f"uid:{os.getuid()}/cli"


def now() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def say(text: str) -> None:
    """One line for people, on stderr, with whatever it quotes made harmless."""
    click.echo("\n".join(sanitize.one_line(line) for line in text.split("\n")), err=True)


def complain(text: str) -> None:
    """One line on stderr that says what could not be done, why, and what to do."""
    say(f"outlive: {text}")


def write(text: str) -> None:
    """One line of data on stdout, as it is."""
    click.echo(text, color=True)  # else click takes escape sequences out for whoever is no terminal


def write_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON document on one line of stdout. ASCII, so that no terminal acts on what it quotes."""
    click.echo(json.dumps(value, indent=indent))


def current() -> Session:
    """The session of the command that runs now."""
    return click.get_current_context().find_root().ensure_object(Session)


class Group(click.Group):
    """Commands under one name. `--takeover` before a command that takes nothing over is refused."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words begin with. Raises `click.UsageError`."""
        name, command, rest = super().resolve_command(ctx, args)
        session = ctx.find_root().ensure_object(Session)
        if session.takeover and command is not None and all(one.name != "takeover" for one in command.params):
            message = f"'--takeover' is for commands that change something: {name} takes no lock"
            raise click.UsageError(message, ctx)
        return name, command, rest


def shared_options(command: _F) -> _F:
    """Accept `--home --database-url --json --no-color --utc -v` here too: before and after the command's name."""
    for name, flags, kind, text in reversed(_SHARED):
        command = click.option(
            *flags,
            expose_value=False,
            callback=_store(name),
            help=text,
            is_flag=kind is bool,
            type=None if kind is bool else click.STRING,
            metavar=None if kind is bool else ("DIR" if name == "home_option" else "URL"),
        )(command)
    return command


def changing_options(command: _F) -> _F:
    """`shared_options`, and `--takeover` for commands that need the home's lock or its holder."""
    takeover = click.option(
        "--takeover",
        is_flag=True,
        expose_value=False,
        callback=_store("takeover"),
        help="End a coordinator that holds the home and does not answer (after proving which process it is).",
    )
    return shared_options(takeover(command))


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        session = context.find_root().ensure_object(Session)
        if value is not None and value is not False:
            setattr(session, name, value)

    return callback


_SHARED: tuple[tuple[str, tuple[str, ...], type, str], ...] = (
    ("home_option", ("--home",), str, "Home directory [OUTLIVE_HOME; else the XDG state directory]."),
    ("database_url", ("--database-url",), str, "Database [OUTLIVE_DATABASE_URL; else SQLite in the home]."),
    ("json", ("--json",), bool, "Write JSON: one document, or one object a line for streams."),
    ("no_color", ("--no-color",), bool, "No colours [NO_COLOR]."),
    ("utc", ("--utc",), bool, "Show times in UTC instead of local time."),
    ("verbose", ("-v", "--verbose"), bool, "Say more, and show where an unexpected error comes from."),
)

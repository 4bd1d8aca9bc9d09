"""Parameter types that several commands share; what is wrong with a value is said in one line."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manager.cli.durations import parse_duration, parse_grace
from manager.cli.session import Session, now
from manager.cli.sizes import parse_size
from manager.cli.times import parse_instant

if TYPE_CHECKING:
    from manager.past import Moment

_F = TypeVar("_F", bound=Callable[..., Any])


class _Parsed(click.ParamType[Any]):
    """A parameter that one function parses, raising `ValueError` with the reason."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_pair(text: str) -> tuple[str, str]:
    """`k=v` as a pair. Raises `ValueError`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError("one value is not of the form key=value; it may be secret and is not shown")
    return key, value


def parse_signal(text: str) -> int:
    """The number of `TERM`, `SIGTERM`, `15`, `RTMIN+2`. Raises `ValueError`."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        number = int(name)
    elif name.startswith("RTMIN+") and name[6:].isdigit():
        number = signal.SIGRTMIN + int(name[6:])
    else:
        found = getattr(signal.Signals, f"SIG{name}", None)
        number = 0 if found is None else int(found)
    if not 1 <= number <= signal.SIGRTMAX:
        raise ValueError(f"{text!r} is not a signal; write it like TERM, SIGUSR1 or 15")
    return number


MOST = (1 << 63) - 1  # what a database's integer holds
POSITION = click.IntRange(min=1, max=MOST)


def parse_path(text: str) -> Path:
    """A path that may name a file. Raises `ValueError`."""
    if "\0" in text:
        raise ValueError("no path holds a NUL")
    return Path(text)


DURATION = _Parsed("duration", parse_duration)
SIZE = _Parsed("size", parse_size)
FILE = _Parsed("file", parse_path)
GRACE = _Parsed("s,s,s", parse_grace)
PAIR = _Parsed("key=value", parse_pair)
SIGNAL = _Parsed("signal", parse_signal)
MOMENT = _Parsed("time or position", lambda text: parse_moment(text, now=now()))
INSTANT = _Parsed("time", lambda text: parse_instant(text, now=now()))


def parse_moment(text: str, *, now: int) -> Moment:
    """A position of the log (a bare number), or a time as `parse_instant` has it. Raises `ValueError`."""
    from manager.past import Moment

    number = text.strip()
    if number.isascii() and number.isdigit():
        return Moment(position=min(int(number), MOST))
    return Moment(instant=parse_instant(text, now=now))


def chosen_format(session: Session, form: str | None, default: str) -> str:
    """What `--format` asks for, or `--json`. Raises `click.UsageError` where they ask for different ones."""
    if session.json and form not in (None, "json"):
        raise click.UsageError(f"'--json' and '--format {form}' ask for two forms; leave one out")
    return "json" if session.json else form or default


def complete_agents(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of agents, for the shell: live ones first. Whatever goes wrong, there is nothing to offer."""
    try:
        given = ctx.find_root().params.get("home_option") or ctx.params.get("home_option")
        view = Session(home_option=given, is_warned=True).view()
        found = view.agents(all=True, vitals=False)
    except Exception:
        return []
    names = sorted(found, key=lambda agent: (agent.is_final, agent.name))
    return list(dict.fromkeys(agent.name for agent in names if agent.name.startswith(incomplete)))


def agents_argument(*, required: bool) -> Callable[[_F], _F]:
    """`AGENT…`, completed by the shell."""
    return click.argument(
        "agents", nargs=-1, required=required, metavar="AGENT...", shell_complete=complete_agents
    )


def agent_argument(*, required: bool = True) -> Callable[[_F], _F]:
    """`AGENT`, completed by the shell."""
    return click.argument("agent", required=required, metavar="AGENT", shell_complete=complete_agents)

"""`at`: the commands that read, as of an earlier time or position of the log."""

from __future__ import annotations

import re
from typing import Any

import click

from manager.cli.options import MOMENT
from manager.cli.session import current, shared_options

READING = ("ps", "status", "events", "why")
_AGO = re.compile(r"-\d.*", re.ASCII)


class _Then(click.Group):
    """The reading commands; a moment like `-2h` is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for index, text in enumerate(args):
            if text in READING:
                break
            if _AGO.fullmatch(text):
                args = [*args[:index], text[1:] if text[-1].isalpha() else text, *args[index + 1 :]]
                break
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(READING)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from manager.cli.main import cli

        return cli.get_command(ctx, cmd_name) if cmd_name in READING else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        from manager.cli.main import COMMANDS

        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in READING])


@click.command("at", cls=_Then)
@click.argument("moment", type=MOMENT, metavar="TIME|POSITION")
@shared_options
def at_command(*, moment: Any) -> None:
    """Read the log as it was: `outlive at 2h ps`, `outlive at 120 status NAME`.

    TIME is RFC 3339, or 10m, -2h, "3 days ago" for that long ago; a bare number is a POSITION, whose event is the last
    that is seen. Of processes that lived then it shows what was recorded.
    """
    current().moment = moment

"""The entry point: commands are imported when they are called, and errors become one line and an exit code here."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from eventstore.errors import OutliveError
from manager.cli import exit_codes
from manager.cli.session import Group, Session, changing_options, complain, say
from manager.version import VERSION

# command: module that holds it, and its line in --help (here, so that --help imports none of them)
COMMANDS = {
    "run": ("run", "Start one agent and verify that it runs; print its id."),
    "ps": ("agents", "Table of agents."),
    "status": ("status", "One screen about an agent."),
    "health": ("agents", "Quick check of agents; exit 0 or 3."),
    "stop": ("changes", "Stop agents in three stages, side by side."),
    "kill": ("changes", "SIGKILL to the whole tree of agents at once."),
    "signal": ("changes", "Send one signal to an agent's main process."),
    "restart": ("run", "Start an agent again, ending it first where it runs."),
    "wait": ("wait", "Wait for agents to end; return their code."),
    "logs": ("logs", "Output of agents."),
    "events": ("events", "The log, one sentence an event."),
    "why": ("why", "Why an agent ended: cause, evidence, who asked, what followed, proof."),
    "at": ("at", "The same as of an earlier time or position: ps, status, events, why."),
    "report": ("report", "Figures: failures, durations, restarts, uptime, resources, recoveries."),
    "sql": ("sql", "One SELECT over the log and the reports, read-only."),
    "recover": ("upkeep", "Replay, compare with the system, re-attach; print what was found."),
    "verify": ("verify", "Check the log in every way; exit 6 where it is not what was written."),
    "checkpoint": (
        "checkpoint",
        "Write the head of the log, signed where there is a key, to be kept elsewhere.",
    ),
    "keys": ("keys", "Keys that sign checkpoints: new, show, public."),
    "export": ("export", "The log as JSON lines, CloudEvents or CSV."),
    "bundle": ("export", "All about one agent in one file, checkable anywhere."),
    "prune": ("prune", "Remove old events, verified and exported before, and say so in the log."),
    "erase": ("erase", "Erase what an agent wrote; the log says so and stays whole."),
    "rebuild": ("upkeep", "Make the projections anew from the log, or compare them with it."),
    "db": ("database", "Version of the database, and its upgrade."),
    "doctor": ("doctor", "Check the home, the database and what the system offers."),
    "completion": ("completion", "Print the script that completes commands and agents in a shell."),
}


class _LazyGroup(Group):
    """A group whose commands are imported when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"manager.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _drop_unwritten()
            raise click.exceptions.Exit(exit_codes.BROKEN_PIPE) from None


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@changing_options
@click.version_option(VERSION, prog_name="outlive")
def cli() -> None:
    """Start programs that outlive whoever started them, and keep a log of what happened to them.

    AGENT is a name, an id, or an id's unambiguous beginning.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's); the exit code. Nothing that goes wrong shows a traceback."""
    _prepare_streams()
    session = Session(database_url=os.environ.get("OUTLIVE_DATABASE_URL") or None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warn
            result = cli.main(args=arguments, prog_name="outlive", standalone_mode=False, obj=session)
        return result if isinstance(result, int) else exit_codes.DONE
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return exit_codes.USAGE
    except click.UsageError as error:
        path = "outlive" if error.ctx is None else error.ctx.command_path
        complain(f"cannot understand the command: {error.format_message().rstrip('.')}; see `{path} --help`")
        return exit_codes.USAGE
    except click.ClickException as error:
        complain(f"cannot go on: {error.format_message()}")
        return exit_codes.FAILED
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.INTERRUPTED
    except Exception as error:
        return _report(error, verbose=session.verbose)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    complain(str(message))


def _report(error: Exception, *, verbose: bool) -> int:
    _drop_unwritten()
    if verbose and not isinstance(error, OutliveError):
        import traceback

        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, OutliveError):
        complain(" ".join(str(error).split("\n")))
    elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        complain("cannot go on: there are too many open files; raise the limit (ulimit -n) and try again")
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        complain(
            "cannot go on: no thread can be started; raise the limit (ulimit -u, pids.max) and try again"
        )
    else:
        detail = f"{type(error).__name__}: {error}".replace("\n", " ")
        hint = "please report it" if verbose else "run it again with -v for the details"
        complain(f"cannot go on: an unexpected {detail}; {hint}")
    return exit_codes.of_error(error)


def _prepare_streams() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed by whoever started us: the next file opened, a lock perhaps, would become our stdout.
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    # An arrow or an agent's ü must not end a command in a Latin-1 locale.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_unwritten() -> None:
    # The interpreter flushes stdout when it leaves, and would complain about a closed pipe or a full disk then.
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def run() -> None:
    """`python -m manager.cli.main`."""
    sys.exit(main())


if __name__ == "__main__":
    run()

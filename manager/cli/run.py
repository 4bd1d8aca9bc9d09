"""`run` and `restart`: an agent started, and seen to run, before the command says so."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from eventstore.payloads import lines_of
from manager.cli import exit_codes, sanitize
from manager.cli.options import agent_argument
from manager.cli.session import Session, changing_options, complain, current, say, write, write_json
from manager.cli.specification import build_spec, spec_options
from manager.cli.tailing import POLL_SECONDS, AgentTail, Ending, Passage
from projections.sentences import exit_text

if TYPE_CHECKING:
    from manager.status import AgentStatus


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option(
    "--name", metavar="NAME", help="Name of the agent, unique among those that have not ended [from COMMAND]."
)
@spec_options
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Stream its output until it ends, and return its own exit code, even if a limit stopped it.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until it is seen to run.")
@changing_options
def run_command(*, name: str | None, follow: bool, no_wait: bool, **options: Any) -> int:
    """Start one agent and print its id once it runs.

    The command is executed as it is, without a shell, in this environment and directory. It writes to files, which
    `outlive logs` shows.
    """
    from manager.errors import StartFailed
    from manager.spec import check_name

    session = current()
    spec = build_spec(**options)
    if name is not None:
        check_name(name)  # before a home is made for it
    with session.door() as door:
        try:
            status = door.spawn(spec, name, wait=not (no_wait or follow))
        except StartFailed as error:
            return failed_start(session, error.status)
        if follow:
            return follow_output(session, status)
    return show_started(session, status, is_waited=not no_wait)


@click.command("restart")
@agent_argument()
@click.option("--reason", metavar="TEXT", help="Why: it goes into the log.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is seen to run again.")
@changing_options
def restart_command(*, agent: str, reason: str | None, no_wait: bool) -> int:
    """Start AGENT again as a new attempt; where it runs it is stopped first."""
    from manager.errors import StartFailed

    session = current()
    before = session.view().agent(agent, vitals=False)  # before a home is made for it
    with session.door() as door:
        try:
            status = door.restart(before.id, reason=reason, wait=not no_wait)
        except StartFailed as error:
            return failed_start(session, error.status)
    is_begun = status.attempt > before.attempt and status.state == "STOPPING"
    code = show_started(session, status, is_waited=not no_wait and not is_begun)
    # Whichever attempt it was: another's order came after this one.
    if (is_begun or status.state in ("CANCELLED", "KILLED")) and not no_wait:
        complain(
            f"cannot start {status.name} again: it was stopped meanwhile; see `outlive events {status.name}`"
        )
        return exit_codes.CONFLICT
    return code


def show_started(session: Session, status: AgentStatus, *, is_waited: bool) -> int:
    """Print the id, or the agent object; 5 where it should have been seen to run and was not yet."""
    if session.json:
        write_json(status.as_json())
    else:
        write(status.id)
    if is_waited and status.state == "STOPPING":
        complain(
            f"cannot start {status.name} again: it is still STOPPING; see `outlive status {status.name}`"
        )
        return exit_codes.TIMED_OUT
    if is_waited and status.state == "SPAWNING":
        complain(
            f"cannot say that {status.name} runs: it was started and not yet seen; ask `outlive status {status.name}`"
        )
        return exit_codes.NOT_VERIFIED
    return exit_codes.DONE


def failed_start(session: Session, status: AgentStatus) -> int:
    """Say why, with what it last wrote; the exit code that a shell would give."""
    if session.json:
        write_json(status.as_json())
    failure: dict[str, Any] = {}
    for event in session.view().reader.events(stream=f"agent/{status.id}", types=("FAILED",)):
        failure = json.loads(event.data)
    why = status.message or "it ended at once"
    number = failure.get("errno")
    if number is not None and os.strerror(number) not in why:
        why += f": {os.strerror(number)}"
    complain(f"cannot start {status.name}: {why}; correct that, or see `outlive status {status.name}`")
    for line in lines_of(session.view().reader, failure.get("last_output")):
        say(f"  | {line}")
    return exit_codes.of_failed_start(phase=failure.get("phase"), number=number)


def follow_output(session: Session, status: AgentStatus) -> int:
    """Stream what the agent writes, over its restarts, until it has ended; its exit code, or 128 + signal.

    Ctrl-C ends the command and leaves the agent running.
    """
    view = session.view()
    sys.stdout.flush()
    tails = [
        (AgentTail(view, "stdout", attempt=status.attempt), Passage(sys.stdout.fileno())),
        (AgentTail(view, "stderr", attempt=status.attempt), Passage(sys.stderr.fileno())),
    ]
    ending = Ending(session.home)
    try:
        while True:
            status = view.agent(status.id)
            is_over = ending.seen(status)
            for tail, passage in tails:
                for chunk in tail.read(status):
                    passage.write(chunk)
            if is_over:
                was_never_executed = status.cause == "failed start" and status.exit is None
                return failed_start(session, status) if was_never_executed else own_code(session, status)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        name = sanitize.one_line(status.name)
        say(
            f"\n{name} goes on running; see it again with `outlive logs -f {name}`, end it with `outlive stop {name}`"
        )
        return exit_codes.INTERRUPTED


def own_code(session: Session, status: AgentStatus) -> int:
    """The agent's exit code as a shell shows it; 125 where it is not known, with the reason on stderr."""
    code = None if status.exit is None else status.exit.shell_code
    if session.verbose and status.exit is not None:
        say(f"{status.name}: {status.state}, {exit_text(status.exit.as_json())}")
    if code is not None:
        return code
    why = status.message or (status.exit.reason if status.exit else None) or "nobody saw its end"
    complain(f"cannot tell how {status.name} ended: {why}; see `outlive events {status.name}`")
    return exit_codes.OUTLIVE_FAILED

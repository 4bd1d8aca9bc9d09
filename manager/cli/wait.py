"""`wait`: the completion signal, with the agent's own exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes
from manager.cli.options import DURATION, agents_argument
from manager.cli.run import own_code
from manager.cli.session import Session, changing_options, current, write, write_json
from projections.sentences import exit_text

if TYPE_CHECKING:
    from manager.status import AgentStatus


@click.command("wait")
@agents_argument(required=True)
@click.option("--any", "is_any", is_flag=True, help="Return when the first of them has ended.")
@click.option(
    "--timeout", type=DURATION, metavar="DURATION", help="Give up after that long, with exit code 124."
)
@changing_options
def wait_command(*, agents: tuple[str, ...], is_any: bool, timeout: float | None) -> int:
    """Wait until agents have ended (restarts included); the exit code is the agent's, or 128 + its signal.

    Of several, the first that is not 0. 125: it ended and nobody saw how. An agent that a limit stopped and that ended
    with 0 gives 0: its outcome, FAILED, is in what is printed, and in `outlive status`.
    """
    session = current()
    view = session.view()
    ids = list(dict.fromkeys(view.agent(reference).id for reference in agents))
    with session.door() as door:
        ended = [status for status in door.wait(ids, any=is_any, timeout=timeout) if status.is_final]
    _show(session, ended)
    codes = [own_code(session, status) for status in ended]
    return next((code for code in codes if code), exit_codes.DONE)


def _show(session: Session, ended: Sequence[AgentStatus]) -> None:
    if session.json:
        write_json({"schema": "outlive.agents/1", "agents": [status.as_json() for status in ended]})
        return
    for status in ended:
        how = "-" if status.exit is None else exit_text(status.exit.as_json())
        write(f"{status.name}\t{status.state}\t{how}")

"""`export` and `bundle`: the log, or all about one agent, for other programs and for people elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manager.cli import exit_codes
from manager.cli.options import FILE, agent_argument
from manager.cli.session import current, say, shared_options, write, write_json

if TYPE_CHECKING:
    from eventstore.checkpoints import Key
    from manager.view import View

FORMATS = ("jsonl", "cloudevents", "csv")


@click.command("export")
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), default="jsonl", help="Of its lines [jsonl, lossless]."
)
@click.option(
    "--from", "start", type=click.IntRange(min=1), metavar="POSITION", help="Begin here [its first event]."
)
@click.option("--to", "until", type=click.IntRange(min=1), metavar="POSITION", help="End here [the head].")
@click.option("--output", type=FILE, metavar="FILE", help="Write a new FILE, whole or not at all [stdout].")
@click.option("--key", metavar="KEY", help="Sign JSON lines with the key in this file [OUTLIVE_SIGNING_KEY].")
@shared_options
def export_command(
    *, kind: str, start: int | None, until: int | None, output: Path | None, key: str | None
) -> int:
    """Write the log, one event a line. `verify --bundle FILE` checks one in JSON lines by itself, and its signature.

    Cells of a CSV that a spreadsheet would take for a formula begin with an apostrophe.
    """
    from manager import exporting

    if key is not None and kind != "jsonl":
        raise click.UsageError("only JSON lines can be signed: leave out --key, or --format")
    session = current()
    view = session.view()
    if view.is_empty:
        say("outlive: nothing has been recorded yet")
        return exit_codes.DONE
    if until is None:
        _require_whole(view, "export the log", ", or name its last position with --to")
    signer = _signer(key) if kind == "jsonl" else None
    lines = exporting.lines(view.reader, kind, start=start, until=until, key=signer)
    if output is None:
        for line in lines:
            sys.stdout.write(line)
        return exit_codes.DONE
    from manager.newfile import new_file

    count = 0
    with new_file(output) as file:
        for line in lines:
            file.write(line.encode())
            count += 1
    _told(output, file.sha256, file.size)
    return exit_codes.DONE


@click.command("bundle")
@agent_argument()
@click.option(
    "--output", type=FILE, metavar="FILE", help="Write this new file [its id and .tar.gz, in this directory]."
)
@click.option("--no-output", "is_without", is_flag=True, help="Leave out what the agent wrote.")
@click.option("--key", metavar="KEY", help="Sign it with the key in this file [OUTLIVE_SIGNING_KEY].")
@shared_options
def bundle_command(*, agent: str, output: Path | None, is_without: bool, key: str | None) -> int:
    """Write all about AGENT into one file: events, output, samples, and what proves that the events are in the log.

    `verify --bundle FILE` checks it anywhere. Only a signature says that its end was not left out. Environment values
    and erasable payloads are not in it.
    """
    from manager import bundling, comparing
    from manager.home import Home
    from manager.newfile import new_file

    session = current()
    view = session.view()
    found = view.agent(agent, vitals=False)
    _require_whole(view, f"bundle {found.id}", "")
    home = Home(session.home)
    signer = _signer(key)
    checkpoint = comparing.checkpoint_for(view.reader, home, found.id, key=signer)
    outputs = [] if is_without else list(bundling.output_files(home.path, found.id))
    path = output or Path(f"{found.id}.tar.gz")
    with new_file(path) as file:
        bundling.write(file, view.reader, found.id, checkpoint=checkpoint, outputs=outputs, key=signer)
    _told(path, file.sha256, file.size)
    return exit_codes.DONE


def _signer(given: str | None) -> Key | None:
    """The key in that file, else the one of the environment, if there is one."""
    from manager import signing

    return signing.of_environment() if given is None else signing.load(Path(given).expanduser())


def _require_whole(view: View, what: str, otherwise: str) -> None:
    """Refuse where the log is known to have been another: what is written would look complete."""
    if view.lag:
        from eventstore.errors import StoreUnavailable

        raise StoreUnavailable(f"cannot {what}: {view.lag}{otherwise}")
    if view.doubt:
        from eventstore.errors import StoreDamaged

        raise StoreDamaged(f"cannot {what}: {view.doubt}; see `outlive verify`{otherwise}")


def _told(path: Path, digest: str, size: int) -> None:
    session = current()
    if session.json:
        write_json({"schema": "outlive.file/1", "path": str(path), "sha256": digest, "size_bytes": size})
    else:
        write(f"{digest}  {path}")

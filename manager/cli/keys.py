"""`keys`: Ed25519 keys that answer for checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from manager.cli import exit_codes
from manager.cli.options import FILE
from manager.cli.session import current, shared_options, write, write_json

_FILE = click.argument("file", type=FILE, required=False, metavar="[FILE]")


@click.group("keys")
@shared_options
def keys_command() -> None:
    """Keys that sign checkpoints; FILE is in the user's configuration where none is named."""


@keys_command.command("new")
@_FILE
@shared_options
def new_command(*, file: Path | None) -> int:
    """Make a key in FILE, which must not exist and may not be in the home; print its id.

    Set OUTLIVE_SIGNING_KEY to FILE where coordinators run. Keep its id elsewhere: `verify --key ID` asks for it.
    """
    from manager import signing
    from manager.homefiles import make_directory

    path = _path(file)
    home = current().home
    if home.resolve() in path.resolve().parents:
        raise click.UsageError(
            f"a key in {home} signs for whoever takes the home; name a place outside of it"
        )
    if file is None:
        for missing in reversed([parent for parent in path.parents if not parent.exists()]):
            make_directory(missing)
    return _show(signing.make(path).id, path)


@keys_command.command("show")
@_FILE
@shared_options
def show_command(*, file: Path | None) -> int:
    """Print the id of the key in FILE, which may be a public one: its public half in hex."""
    from manager import signing

    path = _path(file)
    return _show(signing.public(str(path)).id, path)


@keys_command.command("public")
@click.argument("key", metavar="[KEY]", required=False)
@shared_options
def public_command(*, key: str | None) -> int:
    """Print the public half of KEY, a file or an id, in PEM, as other programs read it."""
    from manager import signing

    found = signing.public(key or str(_path(None)))
    pem = signing.as_pem(found)
    if current().json:
        write_json({"schema": "outlive.key/1", "key": found.id, "pem": pem})
    else:
        write(pem.rstrip())
    return exit_codes.DONE


def _path(file: Path | None) -> Path:
    from manager import signing

    return (file or signing.default_path()).expanduser()


def _show(key: str, path: Path) -> int:
    if current().json:
        write_json({"schema": "outlive.key/1", "key": key, "path": str(path)})
    else:
        write(f"id    {key}\nfile  {path}")
    return exit_codes.DONE

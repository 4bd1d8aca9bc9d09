"""A home with its export, bundle and checkpoints, and two verifiers that share no code."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eventstore.errors import OutliveError
from manager import offline
from manager.cli.main import main
from tests.interfaces.command_line import CommandLine

STRANGER = Path(__file__).with_name("stranger.py")


def outlive_in(kept: Kept, *arguments: str) -> tuple[int, str]:
    """`at` that home."""
    return at(kept.outlive.home, *arguments)


def at(home: Path, *arguments: str) -> tuple[int, str]:
    """A command that reads a home, in this process: its exit code and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(["--home", str(home), *arguments])
    return code, out.getvalue()


def json_of(kept: Kept, *arguments: str) -> Any:
    """The one document that such a command prints."""
    code, out = outlive_in(kept, *arguments, "--json")
    assert code == 0, out
    return json.loads(out)


class Kept:
    """A home with two agents that have ended, the first before the second, and all that can be made of it."""

    def __init__(self, directory: Path) -> None:
        self.outlive = CommandLine(home=directory / "home", directory=directory)
        self.key, self.export, self.bundle = (
            directory / name for name in ("key.pem", "log.jsonl", "a.tar.gz")
        )
        self.id = self.outlive.json("keys", "new", str(self.key))["key"]
        variables = {"OUTLIVE_SIGNING_KEY": str(self.key)}
        for name, code in (("a", 3), ("b", 0)):
            program = f"echo from {name}; sleep 0.2; exit {code}"
            done = self.outlive(
                "run", "--name", name, "--start-window", "0s", "--", "sh", "-c", program, **variables
            )
            assert done.returncode == 0, done.stderr
            assert self.outlive("wait", name, **variables).returncode == code
        self.told = self.outlive.json("export", "--output", str(self.export), "--key", str(self.key))
        done = self.outlive("bundle", "a", "--output", str(self.bundle), **variables)
        assert done.returncode == 0, done.stderr


def stranger(path: Path, *key: str) -> tuple[bool, str]:
    """Whether a verifier that shares no code takes a file for whole, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", STRANGER, path, *key], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode == 0, done.stdout


def ours(path: Path) -> str | None:
    """What our own verifier has against a file."""
    try:
        offline.read(path)
    except OutliveError as error:
        return str(error)
    return None

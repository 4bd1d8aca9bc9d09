"""The real command on an empty home; nothing is left running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interfaces.command_line import CommandLine, end_all
from tests.interfaces.kept import Kept


@pytest.fixture
def outlive(tmp_path: Path) -> Iterator[CommandLine]:
    """The command on an empty home; its agents, shims and commands are ended by pid afterwards."""
    command = CommandLine(home=tmp_path / "home", directory=tmp_path)
    yield command
    for process in command.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    end_all(command.home)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Made once; nobody changes it."""
    return Kept(tmp_path_factory.mktemp("kept"))

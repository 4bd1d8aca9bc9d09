"""A home for each test, and nothing left of its agents."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from manager import Manager
from tests.support.promises import clean_up
from tests.support.small_disks import disk  # noqa: F401 (a fixture)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home that nobody has opened yet; everything that carries its mark is ended afterwards."""
    path = tmp_path / "home"
    yield path
    clean_up(path)


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    """The home's coordinator, in this process."""
    with Manager.open(home, actor="test") as opened:
        yield opened

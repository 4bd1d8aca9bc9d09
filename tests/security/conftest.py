"""A home for each test, as the tests of the manager have it, and somebody without any rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interfaces.conftest import outlive
from tests.manager.conftest import home, manager
from tests.security.ordinary import Ordinary, ordinary_user

__all__ = ["home", "manager", "ordinary", "outlive"]


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Ordinary]:
    """Somebody who is not root, with a directory of their own."""
    with ordinary_user(tmp_path) as somebody:
        yield somebody

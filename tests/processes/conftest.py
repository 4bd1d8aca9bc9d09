"""One launcher and its attempts for a test, ended with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Nursery


@pytest.fixture(name="nursery")
def started_nursery(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery whose home is the test's own directory."""
    with Nursery(tmp_path) as nursery:
        yield nursery

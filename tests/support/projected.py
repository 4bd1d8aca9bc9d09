"""After every test that touches a home: its rows are what its log says, as `outlive rebuild --check` would find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from eventstore.errors import NoDatabase
from eventstore.reader import Reader
from projections.checking import differences

DEPTH = 4  # of homes below a test's own directory


def wrong_rows(root: Path) -> list[str]:
    """What differs in the homes below `root`: one line a value, with its home."""
    found = []
    for home in _homes(root):
        try:
            with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
                found += [f"{home}: {difference}" for difference in differences(reader)]
        except NoDatabase:
            continue  # killed before it made its log
    return found


def _homes(root: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(root):
        if "events.db" in files and "home.json" in files:
            yield Path(place)
        if "home.json" in files or len(Path(place).relative_to(root).parts) >= DEPTH:
            directories.clear()

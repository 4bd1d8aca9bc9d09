"""Directories of agents that were pruned. The log does not know them any more, so they are listed before it forgets.

A list is a file of the home, durable before the events go; it is removed after the directories. Whatever a prune that
was killed has left, the next one does: what is in a list and not in the log goes. Versions before made no lists.
A list also says where the export is, for as long as the log's head outside the database does not show the prune.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from eventstore.crashpoints import crash_point
from eventstore.reader import Reader
from manager.home import Home
from manager.newfile import new_file
from manager.process.attempt_lock import shim_alive

_LIST = re.compile(r"\.?prune\.([0-9]+)\.[0-9a-f]{8}(\.[0-9]+\.partial)?")  # the number is the maker's
_ID = re.compile(r"[0-9a-f]{16}")
_IDS_A_QUERY = 500
_EXPORT = "export "  # and its path as JSON, in the first line


class Removed(NamedTuple):
    """How many directories of agents were removed, and which could not be, with the reason, a line each."""

    directories: int
    left: tuple[str, ...]


def intend(home: Home, ids: Sequence[str], export: Path | None = None) -> None:
    """List agents whose events are about to go, to `export` if they are not gone yet. Raises `FileUnwritable`."""
    if not ids and export is None:
        return
    with new_file(home.path / f"prune.{os.getpid()}.{secrets.token_hex(4)}") as file:
        if export is not None:
            file.write(f"{_EXPORT}{json.dumps(str(export.absolute()))}\n".encode())
        file.write("".join(f"{agent_id}\n" for agent_id in ids).encode())


def exports(home: Home) -> list[Path]:
    """Where prunes that may not have come to their end have put what they removed."""
    found = []
    for name in sorted(os.listdir(home.path)):
        if _LIST.fullmatch(name) and not name.endswith(".partial"):
            with contextlib.suppress(
                OSError, ValueError, TypeError
            ):  # one that was removed or damaged says nothing
                first = (home.path / name).read_text().partition("\n")[0]
                if first.startswith(_EXPORT):
                    found.append(Path(json.loads(first.removeprefix(_EXPORT))))
    return found


def left_unlisted(home: Home, reader: Reader) -> list[str]:
    """Ids of agents whose directories a prune left that made no list: older than what was pruned, unknown to the log.

    A younger one that the log does not know speaks of a log that was cut off, and stays.
    """
    pruned_at = reader.base().recorded_at
    found = [
        path.name for path in home.agents.glob("*") if _ID.fullmatch(path.name) and not path.is_symlink()
    ]
    return [one for one in _unknown(reader, found) if 0 < _begun_at(home.agents / one) <= pruned_at]


def finish(home: Home, reader: Reader) -> Removed:
    """Remove the directories of listed agents that the log does not know. Raises OSError for a list that stays."""
    count, left = 0, list[str]()
    for path in _lists(home.path):
        is_done = True
        for agent_id in _unknown(reader, _ids(path)):
            why = _remove(home.agents / agent_id)
            count += why is None
            if why:
                left.append(f"{home.agents / agent_id}: {why}")
                is_done = False
        if is_done:
            _sync(home.agents)
            _sync(home.head)  # which must show the prune when nothing else does any more
            crash_point("tool.before_list_removed")
            path.unlink()
            crash_point("tool.after_list_removed")
    return Removed(count, tuple(left))


def _lists(home: Path) -> Iterator[Path]:
    """Those that are ours, or whose maker is dead."""
    for name in sorted(os.listdir(home)):
        found = _LIST.fullmatch(name)
        if found and (int(found[1]) == os.getpid() or not os.path.exists(f"/proc/{found[1]}")):
            yield home / name


def _ids(path: Path) -> list[str]:
    # Of one that is not whole the events have not gone.
    return (
        []
        if path.name.endswith(".partial")
        else [i for i in path.read_text().split("\n") if _ID.fullmatch(i)]
    )


def _unknown(reader: Reader, ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(ids), _IDS_A_QUERY):
        some = ids[start : start + _IDS_A_QUERY]
        marks = ", ".join("?" * len(some))
        known = reader.rows(
            f"SELECT DISTINCT stream FROM events WHERE stream IN ({marks})",  # noqa: S608 (marks alone)
            [f"agent/{agent_id}" for agent_id in some],
        )
        yield from (agent_id for agent_id in some if (f"agent/{agent_id}",) not in known)


def _begun_at(directory: Path) -> int:
    """When the last attempt was asked for, in microseconds; 0 where that cannot be told."""
    try:
        return max(
            (os.lstat(one / "spec.json").st_mtime_ns // 1000 for one in directory.iterdir()), default=0
        )
    except OSError:
        return 0


def _remove(directory: Path) -> str | None:
    """Remove an agent's directory; an empty text where there is none, else why it is still there."""
    try:
        if any(shim_alive(str(attempt)) for attempt in directory.glob("*")):
            return "a process of it lives"
        crash_point("tool.before_directory")
        shutil.rmtree(directory)
        crash_point("tool.after_directory")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return None


def _sync(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            crash_point("tool.before_directories_sync")
            os.fsync(descriptor)
            crash_point("tool.after_directories_sync")
        finally:
            os.close(descriptor)

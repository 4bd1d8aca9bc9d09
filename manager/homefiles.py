"""What keeps a home ours: the directories on the way to it, and that its files are files of its own."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path

from eventstore.crashpoints import crash_point
from manager.errors import HomeError

_WRITTEN = re.compile(
    r"lock|head|home\.json|checkpoints\.jsonl|events\.db(?:-wal|-shm|-journal|\.lock|\.queue)?"
)
_LOOKS = 3  # whoever makes a file durably links and unlinks a draft of it just then, once


def make_directory(path: Path) -> None:
    """A directory for us alone on the way to a home, whatever the umask. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        crash_point("coordinator.before_home_parents")
        os.mkdir(path, 0o700)
        crash_point("coordinator.after_home_parents")
        os.chmod(path, 0o700)
        crash_point("coordinator.after_home_parents")


def require_safe_way(home: Path) -> None:
    """Raise `HomeError` where others may put another directory in the place of the home. Raises OSError.

    Write permission for our own group is none for others: it is a user's default where each has a group of their own.
    A sticky directory lets nobody move what is ours.
    """
    for parent in {*home.parents, *Path(os.path.realpath(home)).parents}:
        found = os.stat(parent)
        lets_others = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != os.getegid())
        if lets_others and not found.st_mode & stat.S_ISVTX:
            raise HomeError(
                f"cannot use {home} as home: others may write to {parent} (mode {stat.S_IMODE(found.st_mode):04o}) and "
                f"put another in its place; run: chmod go-w {parent}, or choose another with --home"
            )


def require_our_files(home: Path) -> None:
    """Raise `HomeError` unless what outlive writes in the home are files of ours, without a second name elsewhere.

    A link would have us write to what it leads to. Raises OSError.
    """
    for name in sorted(os.listdir(home)):
        if name == "agents" or _WRITTEN.fullmatch(name):
            why = _look_at(home, name)
            if why is not None:
                raise HomeError(
                    f"cannot use {home} as home: {home / name} {why}; move it away, or restore a copy"
                )


def _look_at(home: Path, name: str) -> str | None:
    """Why it is not ours to write to."""
    for number in range(_LOOKS):
        if number:
            time.sleep(0.01)
        try:
            found = os.lstat(home / name)
        except FileNotFoundError:
            return None
        is_kind = stat.S_ISDIR if name == "agents" else stat.S_ISREG
        if not is_kind(found.st_mode):
            return (
                "is a symbolic link"
                if stat.S_ISLNK(found.st_mode)
                else "is something else than outlive makes"
            )
        if found.st_uid != os.geteuid():
            return f"belongs to uid {found.st_uid}"
        if name == "agents" or found.st_nlink <= 1 + _drafts(home, name, found):
            return None
    return "has a second name (a hard link)"


def _drafts(home: Path, name: str, found: os.stat_result) -> int:
    """How many of the names that a file has are those of drafts, left by one that was killed."""
    count = 0
    for other in os.listdir(home):
        if re.fullmatch(re.escape(name) + r"\.[0-9]+", other):
            with contextlib.suppress(FileNotFoundError):
                count += os.path.samestat(os.lstat(home / other), found)
    return count

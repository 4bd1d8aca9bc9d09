"""`home.json`: who a home is. Written once, and never without the file that keeps the head of its log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point
from eventstore.headfile import HeadFile
from manager.errors import HomeError

_DRAFT = re.compile(r"(?:home\.json|head)\.([0-9]+)")  # the number is the maker's


class HomeIdentity(NamedTuple):
    """`id` names the home in every event; `key` keys the digests of specs and never leaves the directory.

    `keeps_head`: a file outside the database has kept the log's head from its first event on, or since an upgrade.
    """

    id: str
    key: bytes
    keeps_head: bool


def read_or_make(path: Path) -> HomeIdentity:
    """The identity in the file at `path`, made where there is none. Raises `HomeError`, OSError."""
    if not path.exists():
        HeadFile(path.with_name("head")).create()
        draft = _draft(path, {"home": str(uuid.uuid4()), "key": secrets.token_hex(32), "head": True})
        # The way to the home may have been made just now, by us or by one that was killed: a log that survives a power
        # loss needs its directory, too. All of it is durable before the identity, which says that this was done.
        for directory in path.parents:
            _sync(directory)
        crash_point("coordinator.before_home_identity")
        with contextlib.suppress(FileExistsError):  # another process was first: its identity counts
            os.link(draft, path)
        crash_point("coordinator.after_home_identity")
        draft.unlink()
        crash_point("coordinator.after_home_draft_removed")
        _sync(path.parent)
    return read(path)


def read(path: Path) -> HomeIdentity:
    """The identity in the file at `path`. Raises `HomeError`, OSError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return HomeIdentity(
            id=str(uuid.UUID(content["home"])),
            key=bytes.fromhex(content["key"]),
            keeps_head=content.get("head") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(
            f"cannot read {path}: {error}; restore it from a backup, the log's events carry its id"
        ) from error


def remember_head_is_kept(path: Path, identity: HomeIdentity) -> None:
    """From now on a missing file of the head is damage. For whoever holds the lock. Raises OSError."""
    draft = _draft(path, {"home": identity.id, "key": identity.key.hex(), "head": True})
    _sync(path.parent)
    crash_point("coordinator.before_home_identity_renewed")
    os.rename(draft, path)
    crash_point("coordinator.after_home_identity_renewed")


def remove_drafts(home: Path, *, has_failed: bool = False) -> None:
    """Remove what makers of this file and of the head's left half made when they were killed. Raises OSError.

    `has_failed`: what we made ourselves, too, for it will not be finished.
    """
    for name in os.listdir(home):
        draft = _DRAFT.fullmatch(name)
        if draft is None:
            continue
        is_ours = has_failed and int(draft[1]) == os.getpid()
        if is_ours or not os.path.exists(f"/proc/{draft[1]}"):
            crash_point("coordinator.before_old_draft")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(home / name)
            crash_point("coordinator.after_old_draft")


def _draft(path: Path, content: dict[str, Any]) -> Path:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    crash_point("coordinator.before_home_draft")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)  # of a dead process with our number, or a link that somebody put there
    crash_point("coordinator.before_home_draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    crash_point("coordinator.after_home_draft")
    with open(descriptor, "w", encoding="utf-8") as file:
        crash_point("coordinator.after_home_draft")
        os.fchmod(descriptor, 0o600)  # whatever the umask
        crash_point("coordinator.after_home_draft")
        json.dump(content, file)
        file.flush()
        crash_point("coordinator.after_home_draft_written")
        os.fsync(file.fileno())
        crash_point("coordinator.after_home_draft_synced")
    return draft


def _sync(directory: Path) -> None:
    with contextlib.suppress(PermissionError):  # one that we may not read is not one that we have made
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Heads of the log in a file that only grows, best on another disk: what shows a suffix that was computed anew.

JSON lines in ASCII, one checkpoint each; docs/log-format.md has the fields and what is signed. A line is one append,
and then made durable. One that a power loss has torn is passed over, and the next begins on a line of its own.
That a file is missing, or lacks its end, is known by what is kept beside the head (`eventstore/headfile.py`).
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point
from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.record import Head, rfc3339

SCHEMA = "outlive.checkpoint/1"
EVERY_EVENTS = 1000
EVERY_MICROSECONDS = 60_000_000
RECENT_BYTES = 16_384  # looked at when a log is opened; some forty checkpoints

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Key(NamedTuple):
    """An Ed25519 key: its public half in hex, by which it is known; `sign` only where we hold the private half."""

    id: str
    is_signature: Callable[[bytes, bytes], bool]
    sign: Callable[[bytes], bytes] | None = None


class Checkpoint(NamedTuple):
    """What a log was known to be: its head, when that was looked at, and, where somebody answers for it, by whom."""

    head: Head
    home: str
    key: str | None = None
    signature: str | None = None

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        words = (
            SCHEMA,
            str(self.head.position),
            self.head.hash.hex(),
            rfc3339(self.head.recorded_at),
            self.home,
        )
        return "".join(f"{word}\n" for word in words).encode()

    def signed(self, key: Key) -> Checkpoint:
        """The same with a signature, if the key can sign."""
        return self if key.sign is None else self._replace(key=key.id, signature=key.sign(self.message).hex())

    def is_signed_by(self, key: Key) -> bool:
        """Whether it was signed with that key."""
        try:
            signature = bytes.fromhex(self.signature or "")
        except ValueError:
            return False
        return self.key == key.id and key.is_signature(signature, self.message)

    def as_json(self) -> dict[str, Any]:
        """The object of its line."""
        return {
            "schema": SCHEMA,
            "position": self.head.position,
            "hash": self.head.hash.hex(),
            "time": rfc3339(self.head.recorded_at),
            "home": self.home,
            "key": self.key,
            "signature": self.signature,
        }


def parse(line: bytes | str) -> Checkpoint | None:
    """The checkpoint of a line; None for a line that is none, or torn."""
    try:
        found = json.loads(line)
        if found["schema"] != SCHEMA or _TIME.fullmatch(found["time"]) is None:
            return None
        since = datetime.fromisoformat(found["time"]) - _EPOCH
        head = Head(found["position"], bytes.fromhex(found["hash"]), since // timedelta(microseconds=1))
        checkpoint = Checkpoint(head, found["home"], found["key"] or None, found["signature"] or None)
        texts = (checkpoint.home, checkpoint.key or "", checkpoint.signature or "")
        is_right = (
            0 < head.position < 2**63
            and len(head.hash) == 32
            and all(isinstance(text, str) for text in texts)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return checkpoint if is_right else None


class CheckpointFile:
    """One such file, for the checkpoints of one home. Building one opens nothing. For any number of threads.

    `is_cut`: it was found shorter than this process had left it.
    """

    def __init__(self, path: Path, *, home: str, key: Key | None, clock: Callable[[], int]) -> None:
        self.path = path
        self._home = home
        self._key = key
        self._clock = clock
        self._last_position = 0
        self._last_at = 0
        self._size = 0  # as we left it; it only grows
        self.is_cut = False
        self._lock = threading.Lock()

    def read(self, *, is_recent: bool = False) -> Iterator[Checkpoint]:
        """Checkpoints of this home in the order in which they were written, or the last of them.

        Raises `StoreDamaged` for what is no file, `StoreUnavailable` for one that cannot be read.
        """
        for line in _lines(self.path, RECENT_BYTES if is_recent else None):
            checkpoint = parse(line)
            if checkpoint is not None and checkpoint.home == self._home:
                yield checkpoint

    def holds(self, position: int) -> bool:
        """Whether there is a checkpoint of this home at `position`. Raises as `read` does."""
        return any(
            found.head.position == position
            for is_recent in (True, False)
            for found in self.read(is_recent=is_recent)
        )

    def is_forged(self, checkpoint: Checkpoint) -> bool:
        """Whether it names the key that we sign with and was not signed by it."""
        key = self._key
        return key is not None and checkpoint.key == key.id and not checkpoint.is_signed_by(key)

    def go_on_from(self, last: Checkpoint | None) -> None:
        """Count from the last checkpoint that was written, by whomever."""
        if last is not None:
            self._last_position = last.head.position
        with suppress(OSError):
            self._size = os.stat(self.path).st_size
        self._last_at = self._clock()

    def note(self, head: Head, *, is_last: bool = False) -> bool:
        """Write a checkpoint of a durable `head` if it is time for one; `is_last`: wherever the log has grown since.

        Whether one was written. Raises OSError.
        """
        with self._lock:
            grown = head.position - self._last_position
            is_due = grown >= EVERY_EVENTS or self._clock() - self._last_at >= EVERY_MICROSECONDS
            if grown > 0 and (is_last or is_due):
                self.write(head)
                return True
            return False

    def write(self, head: Head) -> Checkpoint:
        """Write a checkpoint of a durable `head`, durably. Raises OSError."""
        now = self._clock()
        checkpoint = Checkpoint(Head(head.position, head.hash, now), self._home)
        if self._key is not None:
            checkpoint = checkpoint.signed(self._key)
        # Whether or not that succeeds: a full disk is not tried again with each event.
        self._last_position, self._last_at = head.position, now
        size, left = _append(self.path, json.dumps(checkpoint.as_json()).encode() + b"\n"), self._size
        self.is_cut |= size < left
        self._size = max(size, left)
        return checkpoint


def _append(path: Path, line: bytes) -> int:
    """Add a line, durably; the size before. Raises OSError."""
    crash_point("store.before_checkpoint_file")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
    try:
        crash_point("store.after_checkpoint_file")
        size = os.fstat(descriptor).st_size
        if not size:
            os.fchmod(descriptor, 0o600)  # whatever the umask
        is_torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        crash_point("store.before_checkpoint")
        os.write(descriptor, b"\n" + line if is_torn else line)
        crash_point("store.after_checkpoint")
        os.fsync(descriptor)
        crash_point("store.after_checkpoint_synced")
        if not size:
            _sync_name(path)
        return size
    finally:
        os.close(descriptor)


def _sync_name(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        crash_point("store.before_checkpoint_directory")
        os.fsync(descriptor)
        crash_point("store.after_checkpoint_directory")
    finally:
        os.close(descriptor)


def _lines(path: Path, last_bytes: int | None) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if os.path.islink(path):
            raise _damaged(path, "it is a symbolic link") from error
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}; check its owner and mode") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _damaged(path, "it is no file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            if last_bytes is not None:
                file.seek(max(0, os.fstat(descriptor).st_size - last_bytes))
            yield from file
        except OSError as error:
            raise StoreUnavailable(f"cannot read {path}: {error.strerror}; try again") from error


def _damaged(path: Path, why: str) -> StoreDamaged:
    return StoreDamaged(f"cannot compare the log with its checkpoints: {path} is damaged: {why}; put it back")

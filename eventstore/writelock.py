"""The right to write, for one thread of one process at a time, with a bounded wait and a fair turn.

SQLite's own busy handler starves writers: of four, one committed nothing for three seconds. `flock` cannot wait with a
limit, so it is polled; and a poller would never beat a busy writer that takes the lock again at once. Hence two files:
whoever wants the lock first takes `….queue` and keeps it until it has the lock. The writer that has just finished
finds the queue taken and comes after the one that waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eventstore.crashpoints import crash_point
from eventstore.errors import StoreUnavailable

_POLL_SECONDS = 0.000_05
_LONGEST_POLL_SECONDS = 0.002
AGAIN_SECONDS = (
    0.25  # for what was held all the time before: a command waits once, not for each of its appends
)


class WriteLock:
    """`PATH.lock`, as a context manager. Raises `StoreUnavailable` after `wait_seconds`, naming the holder.

    From then on after a moment, until it has been had again.
    """

    def __init__(self, database: Path, *, wait_seconds: float) -> None:
        self._lock_path = database.with_name(database.name + ".lock")
        self._queue_path = database.with_name(database.name + ".queue")
        self._wait_seconds = wait_seconds
        self._thread_lock = threading.Lock()
        self._lock_fd = -1
        self._queue_fd = -1
        self._held_since: float | None = (
            None  # monotonic; None: it was had at the last try, or not waited for in full
        )

    def __enter__(self) -> None:
        self._enter(self._wait_seconds)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The same with another limit of waiting."""
        self._enter(seconds)
        try:
            yield
        finally:
            self.__exit__()

    def _enter(self, wait_seconds: float) -> None:
        if self._held_since is not None:
            wait_seconds = min(wait_seconds, AGAIN_SECONDS)
        begun = time.monotonic()
        if not self._thread_lock.acquire(timeout=wait_seconds):
            raise StoreUnavailable(
                f"cannot write: another thread has held {self._lock_path} for {wait_seconds:g} s; try again"
            )
        try:
            if self._queue_fd < 0:
                self._queue_fd = _open(self._queue_path)
            if self._lock_fd < 0:
                self._lock_fd = _open(self._lock_path)
            crash_point("store.before_queue")
            self._take(self._queue_fd, self._queue_path, begun, wait_seconds)
            crash_point("store.after_queue")
            try:
                self._take(self._lock_fd, self._lock_path, begun, wait_seconds)
                crash_point("store.after_lock")
            finally:
                self._give_up(self._queue_fd)
            crash_point("store.after_unqueue")
            if self._lock_fd < 0:
                raise StoreUnavailable(f"cannot give up {self._queue_path}; try again")
            self._held_since = None
        except BaseException:
            self._thread_lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        crash_point("store.before_unlock")
        self._give_up(self._lock_fd)
        crash_point("store.after_unlock")
        self._thread_lock.release()

    def close(self) -> None:
        """Close the files. Nobody may hold or want the lock."""
        for descriptor in (self._queue_fd, self._lock_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._queue_fd = self._lock_fd = -1

    def _give_up(self, descriptor: int) -> None:
        """Unlock. What cannot be unlocked inside would stop all writers: closing the file gives it up, too."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError:
            self.close()

    def _take(self, descriptor: int, path: Path, begun: float, wait_seconds: float) -> None:
        pause = _POLL_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                raise StoreUnavailable(f"cannot lock {path}: {error.strerror}; try again") from error
            if (now := time.monotonic()) > begun + wait_seconds:
                held = wait_seconds if self._held_since is None else round(now - self._held_since)
                if wait_seconds >= self._wait_seconds:
                    self._held_since = begun
                raise StoreUnavailable(
                    f"cannot write: {path} has been held for {held:g} s"
                    f"{_holder(descriptor)}; end or resume that one, then try again"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


def _open(path: Path) -> int:
    try:
        crash_point("store.before_lock_file")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        crash_point("store.after_lock_file")
        if os.fstat(descriptor).st_mode & 0o777 != 0o600:
            with suppress(PermissionError):  # somebody else's file: it is theirs to guard
                os.fchmod(descriptor, 0o600)
                crash_point("store.after_lock_file_mode")
    except OSError as error:
        advice = {
            errno.EROFS: "the file system is read-only; make it writable",
            errno.ENOSPC: "the disk is full; make room",
            errno.ENOENT: "its directory does not exist; create it",
        }.get(error.errno or 0, f"{error.strerror}; check the directory and its permissions")
        raise StoreUnavailable(f"cannot open {path}: {advice} and try again") from error
    return descriptor


def _holder(descriptor: int) -> str:
    """` by process N`, where the kernel tells."""
    wanted = str(os.fstat(descriptor).st_ino)
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields[1] and fields[5].rpartition(":")[2] == wanted and fields[4] != "0":
                return f" by process {fields[4]}"
    except (OSError, IndexError):
        pass
    return " by another process"

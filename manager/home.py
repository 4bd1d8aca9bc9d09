"""The home: one directory that holds a log, its agents' files and the lock of its one coordinator.

0700, owned by us, or refused. The lock is flock(2) on `lock`, held for a coordinator's life; what is written in the
file (who holds it) serves error messages and take-overs only, and is proved before it is acted upon.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import stat
import sys
import time
import weakref
from pathlib import Path
from typing import Any

from eventstore.crashpoints import crash_point
from eventstore.errors import OutliveError
from manager.errors import HomeError
from manager.homefiles import make_directory, require_our_files, require_safe_way
from manager.homeidentity import HomeIdentity, read_or_make, remove_drafts
from manager.process.identity import identify
from manager.process.procfs import read_stat

BUSY_WAIT_SECONDS = 0.2  # a holder that is just leaving (a short-lived command) is waited for
UNNAMED_WAIT_SECONDS = 1.0  # one that has not written its name yet, for that


class HomeBusy(OutliveError):
    """Another coordinator holds the home. `holder` is what its lock file says of it, `is_stopped`: SIGSTOPped."""

    def __init__(self, message: str, *, holder: dict[str, Any] | None, is_stopped: bool = False) -> None:
        self.holder = holder
        self.is_stopped = is_stopped
        super().__init__(message)


def find_home(given: str | None) -> Path:
    """The home to use: `given`, else OUTLIVE_HOME, else `outlive` in the XDG state directory. Creates nothing.

    Raises `HomeError` for what cannot be a path.
    """
    if given or os.environ.get("OUTLIVE_HOME"):
        return _path(given or os.environ["OUTLIVE_HOME"])
    return _path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "outlive"


def _path(text: str) -> Path:
    try:
        path = Path(text).expanduser().absolute()
        str(path).encode()  # as the database needs it
    except (RuntimeError, UnicodeError) as error:  # ~ of nobody
        why = "its path is not UTF-8" if isinstance(error, UnicodeError) else error
        raise HomeError(f"cannot use {text!r} as home: {why}; choose another with --home") from error
    if "\0" in text:
        raise HomeError(f"cannot use {text!r} as home: no path holds a NUL; choose another with --home")
    return path


class Home:
    """Paths in a home, and the checks that it may be used. Building one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agents = path / "agents"
        self.database = path / "events.db"
        self.head = path / "head"
        self.identity = path / "home.json"
        self.control_socket = path / "control.sock"
        self._lock = path / "lock"

    def prepare(self) -> HomeIdentity:
        """Make the directory where it is missing, check it, and return who it is. Raises `HomeError`."""
        try:
            crash_point("coordinator.before_home_parents")
            for missing in reversed([parent for parent in self.path.parents if not parent.exists()]):
                make_directory(missing)
            crash_point("coordinator.after_home_parents")
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
                crash_point("coordinator.after_home")
                os.chmod(self.path, 0o700)  # whatever the umask
            self.check()
            crash_point("coordinator.before_agents_directory")
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.agents, 0o700)
                crash_point("coordinator.after_agents_directory")
                os.chmod(self.agents, 0o700)
            crash_point("coordinator.after_agents_directory")
            require_our_files(self.path)
            return read_or_make(self.identity)
        except OSError as error:
            with contextlib.suppress(OSError):
                remove_drafts(self.path, has_failed=True)
            raise self._unusable(error) from error

    def check(self) -> None:
        """Raise `HomeError` unless it is a directory of ours that nobody else can look into or replace."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise HomeError(
                f"cannot use {self.path} as home: {error.strerror}; check --home or OUTLIVE_HOME"
            ) from error
        if not stat.S_ISDIR(found.st_mode):
            raise HomeError(
                f"cannot use {self.path} as home: it is not a directory; choose another with --home"
            )
        if found.st_uid != os.geteuid():
            raise HomeError(
                f"cannot use {self.path} as home: it belongs to uid {found.st_uid}, and we run as {os.geteuid()}; "
                "run as its owner, or choose another with --home"
            )
        require_safe_way(self.path)
        if found.st_mode & 0o077:
            raise HomeError(
                f"cannot use {self.path} as home: its mode {stat.S_IMODE(found.st_mode):04o} lets others in; "
                f"run: chmod 700 {self.path}"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            is_read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            why = (
                "the file system is read-only; make it writable"
                if is_read_only
                else f"no permission to write there; run: chmod 700 {self.path}"
            )
            raise HomeError(f"cannot use {self.path} as home: {why}, or choose another with --home")

    def acquire(self, *, wait_seconds: float = BUSY_WAIT_SECONDS) -> HomeLock:
        """Take the home's lock for the life of a coordinator. Raises `HomeBusy`, naming the holder, and `HomeError`."""
        crash_point("coordinator.before_lock")
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            raise self._unusable(error) from error
        crash_point("coordinator.after_lock_file")
        try:
            if os.fstat(descriptor).st_mode & 0o777 != 0o600:
                os.fchmod(descriptor, 0o600)  # whatever the umask
                crash_point("coordinator.after_lock_file")
            deadline = time.monotonic() + wait_seconds
            while not _try_flock(descriptor):
                late = time.monotonic() - deadline
                if late >= UNNAMED_WAIT_SECONDS or (late >= 0 and self.holder()):
                    raise self._busy()
                time.sleep(0.01)
            crash_point("coordinator.after_lock")
            remove_drafts(self.path)
            return HomeLock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def holder(self) -> dict[str, Any] | None:
        """What the lock file says of the holder: its identity, argv, since; None when it says nothing."""
        try:
            content = json.loads(self._lock.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _unusable(self, error: OSError) -> HomeError:
        advice = {
            errno.ENOSPC: "make room on its disk (`df`, `df -i`), then try again",
            errno.EDQUOT: "make room in the quota, then try again",
            errno.EROFS: "make its file system writable, then try again",
        }.get(error.errno or 0, "choose another with --home or OUTLIVE_HOME")
        return HomeError(f"cannot use {self.path} as home: {error.strerror}; {advice}")

    def _busy(self) -> HomeBusy:
        holder = self.holder()
        if not holder:
            return HomeBusy(
                f"cannot act as coordinator of {self.path}: another process holds its lock, and the lock file "
                "does not say which; try again",
                holder=None,
            )
        state = _process_state(int(holder.get("pid", 0)))
        how = " and is stopped (SIGSTOP)" if state == "T" else ""
        return HomeBusy(
            f"cannot act as coordinator of {self.path}: process {holder.get('pid')} ({holder.get('argv')}) "
            f"holds it since {holder.get('since')}{how}; ask it, end it, or, where it does not answer, "
            "take over with --takeover",
            holder=holder,
            is_stopped=state == "T",
        )


class HomeLock:
    """The held lock; `taken_over_from`: pid of the holder that was ended for it.

    Children made by fork close their copy, so that an orphan never keeps a home locked.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self.taken_over_from: int | None = None
        self._write(_describe_ourselves())
        _held.add(self)
        _forget_after_forks()

    def release(self) -> None:
        """Let go; the file then names nobody. A second call does nothing."""
        if self._descriptor is None:
            return
        self._write({})
        os.close(self._descriptor)
        crash_point("coordinator.after_unlock")
        self._descriptor = None
        _held.discard(self)

    def forget(self) -> None:
        """In a forked child: close the copy without touching what the parent wrote."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, holder: dict[str, Any]) -> None:
        assert self._descriptor is not None
        text = json.dumps(holder).encode() if holder else b""
        # A full disk must not keep anybody from taking the lock; the text is a courtesy.
        crash_point("coordinator.before_holder")
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            crash_point("coordinator.after_holder_cleared")
            os.pwrite(self._descriptor, text, 0)
        crash_point("coordinator.after_holder")


_held: weakref.WeakSet[HomeLock] = weakref.WeakSet()


@functools.cache
def _forget_after_forks() -> None:
    # Once, at the first lock: a hook cannot be taken back, and importing this module must do nothing.
    os.register_at_fork(after_in_child=_forget_locks)


def _forget_locks() -> None:
    for lock in list(_held):
        lock.forget()


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise
    return True


def _describe_ourselves() -> dict[str, Any]:
    identity = identify(os.getpid())
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # The program and its subcommand: what follows may be `--env PASSWORD=…`, and is shown to whoever asks who holds it.
    argv = " ".join(word for number, word in enumerate(sys.argv[:2]) if number == 0 or word.isalpha())[:200]
    return {**({} if identity is None else identity._asdict()), "argv": argv, "since": since}


def _process_state(pid: int) -> str | None:
    found = read_stat(pid) if pid > 0 else None
    return None if found is None else found.state

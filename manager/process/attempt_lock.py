"""Whether a shim lives in an attempt's directory, and claiming one in which none will.

While a shim lives it holds `lock` and its agent's main process is not reaped, except in until=tree once
``main.json`` exists. So a held lock and no ``main.json`` prove that the main process's PID was not reused.
"""

import contextlib
import errno
import fcntl
import os
import stat

from eventstore.crashpoints import crash_point
from manager.process.attempt_dir import CLAIMED, NOT_A_FILE


def claim(path: str) -> bool:
    """Make certain that nothing was or ever will be started in an attempt's directory; True when it is so.

    False: a shim lives there, or has left what follows an identity, so that the program may have run. A request that
    arrives late finds the claim and starts nothing: the directory itself if it was not made yet, else the
    ``claimed`` file, which a shim looks for once it holds the lock. Claiming twice is harmless.
    Raises OSError when it can be neither claimed nor ruled out.
    """
    crash_point("coordinator.before_claim")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return _claim_existing(path)
    except (
        FileNotFoundError
    ):  # the coordinator died between its commit and the making of the agent's directory
        crash_point("coordinator.before_claim_parent")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        crash_point("coordinator.after_claim_parent")
        os.chmod(os.path.dirname(path), 0o700)  # whatever the umask
        crash_point("coordinator.after_claim_parent")
        return claim(path)
    crash_point("coordinator.after_claim")
    os.chmod(path, 0o700)
    crash_point("coordinator.after_claim")
    return True


def _claim_existing(path: str) -> bool:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if os.path.islink(path):
        return False
    crash_point("coordinator.before_claim_lock")
    try:
        lock = os.open(f"{path}/lock", flags, 0o600)
        crash_point("coordinator.after_claim_lock_file")
        os.fchmod(lock, 0o600)
        crash_point("coordinator.after_claim_lock_file")
    except OSError as error:
        if error.errno in (*NOT_A_FILE, errno.EISDIR):
            return False  # no shim left it so: what was done here before cannot be told
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        crash_point("coordinator.after_claim_lock")
        if has_traces(path):
            return False
        os.close(os.open(f"{path}/{CLAIMED}", flags, 0o600))
        crash_point("coordinator.after_claim_file")
        for name in ("spec.json", "identity.json"):  # of a shim that was killed while it wrote
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}/{name}.tmp")
            crash_point("coordinator.after_claim_tidied")
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def has_traces(path: str) -> bool:
    """Whether there is anything in the directory that a shim or an agent writes from the identity on."""
    names = ("identity.json", "exec.json", "main.json", "exit.json", "stdout.log")
    return any(os.path.lexists(f"{path}/{name}") for name in names)


def shim_alive(path: str) -> bool:
    """Whether a shim holds the attempt's lock: immune to PID reuse. False when there is no lock file."""
    return bool(is_locked(path))


def is_locked(path: str) -> bool | None:
    """Whether the attempt's lock is held; None when there is no lock file that could tell, or it is another's."""
    if os.path.islink(path):
        return None
    try:
        descriptor = os.open(f"{path}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOT_A_FILE:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holds_main(path: str) -> bool:
    """Whether the main process is certainly not reaped yet, so that its PID cannot have been reused.

    The order matters: no ``main.json`` now and a shim that is alive later mean that it was alive now, too.
    """
    return not os.path.lexists(f"{path}/main.json") and shim_alive(path)

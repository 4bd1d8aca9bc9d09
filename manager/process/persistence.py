"""Writing an exit, however long the disk refuses: until it is written, the agent's zombie is the only copy of it."""

import contextlib
import errno
import os
import stat
import time

from manager.process.attempt_dir import write_record

RETRY_SECONDS = 1.0


def persist(directory: int, name: str, line: bytes) -> None:
    """Write a record durably, asking again for ever; give up only when the directory is deleted."""
    while True:
        try:
            write_record(directory, name, line, durable=True)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.EISDIR:
                _set_aside(directory, name)
            time.sleep(RETRY_SECONDS)
        else:
            _sync_names(directory)
            return


def _sync_names(directory: int) -> None:
    """Make durable that there is this attempt and this agent: a record in a directory without a name is lost."""
    for path in ("..", "../.."):
        with contextlib.suppress(
            OSError
        ):  # deleted, or a disk at fault: the record itself is as durable as it gets
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _set_aside(directory: int, name: str) -> None:
    """Move a directory that somebody put where a record belongs; it would be in the way for ever."""
    for taken in (name, name + ".tmp"):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(taken, dir_fd=directory, follow_symlinks=False).st_mode):
                os.rename(taken, taken + ".displaced", src_dir_fd=directory, dst_dir_fd=directory)

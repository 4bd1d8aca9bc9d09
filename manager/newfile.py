"""A file that is there whole or not at all: written beside its place under another name, durable, then named."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from eventstore.crashpoints import crash_point
from eventstore.errors import OutliveError


class FileUnwritable(OutliveError):
    """A file that was asked for cannot be written."""


class NewFile:
    """Bytes on their way into a file, counted and digested."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._digest = sha256()
        self.size = 0

    def write(self, content: bytes) -> int:
        """Take them in; as a file object does."""
        self._digest.update(content)
        self.size += len(content)
        return self._file.write(content)

    def flush(self) -> None:
        """As a file object does."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """The digest of all that was written, in hex."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """A file to write; it appears at `path`, durably, when the block ends without an error, mode 0600.

    Raises `FileUnwritable`, also where there is something at `path` already.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if os.path.lexists(path):
            raise FileExistsError
        crash_point("tool.before_draft")
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        crash_point("tool.after_draft")
        try:
            file = NewFile(descriptor)
            with file._file:  # noqa: SLF001 (closing it is not for whoever writes)
                yield file
                file.flush()
                crash_point("tool.after_draft_written")
                os.fsync(descriptor)
                crash_point("tool.after_draft_synced")
            os.link(draft, path)  # unlike a rename it replaces nothing
            crash_point("tool.after_draft_named")
        finally:
            os.unlink(draft)
            crash_point("tool.after_draft_removed")
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise FileUnwritable(f"cannot write {path}: there is a file already; name another") from error
    except OSError as error:
        raise FileUnwritable(f"cannot write {path}: {error.strerror}; name another place") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        crash_point("tool.before_directory_sync")
        os.fsync(descriptor)
        crash_point("tool.after_directory_sync")
    finally:
        os.close(descriptor)

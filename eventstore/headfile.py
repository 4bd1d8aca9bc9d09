"""The head of the log, kept in a file outside the database: what a chain beside its data cannot show.

Two slots in blocks of their own, written in turn, so that a torn write leaves the other one. A slot is one line:

    outlive-head/1 POSITION RECORDED_AT HASH CRC32

The newest whole slot counts. It is written after each commit, without an fsync: what it names is durable, so it is
never ahead of the log; after a kill or a power loss it may be behind. Making and replacing the file are durable.

A third line, in a block of its own, is about the file of checkpoints: up to which position some were written to it.

    outlive-checkpointed/1 POSITION CRC32

It is written after the checkpoint is durable, so it is never ahead of that file either.
"""

from __future__ import annotations

import os
import stat
import zlib
from contextlib import suppress
from pathlib import Path

from eventstore.chain import EMPTY
from eventstore.crashpoints import crash_point
from eventstore.errors import StoreDamaged, StoreUnavailable
from eventstore.record import Head

ADVICE = "put a copy of that file back, or choose another home: nobody else can tell whether the log's end was cut off"

_SLOTS = (0, 4096)
_CHECKPOINTED = 8192
_LINE_BYTES = 160  # a line, filled up with blanks, so that a longer one leaves nothing behind
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class HeadFile:
    """One such file. Building one opens nothing; a process that appends keeps it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._slot = 0

    def read(self) -> Head | None:
        """What it says, None where there is no such file. Raises `StoreDamaged` for one that says nothing."""
        try:
            descriptor = os.open(self.path, _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno is not None and os.path.islink(self.path):
                raise self._damaged("it is a symbolic link") from error
            raise StoreUnavailable(
                f"cannot read {self.path}: {error.strerror}; check its owner and mode"
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._damaged("it is no file")
            found = [slot for slot in _slots(descriptor) if slot is not None]
        except OSError as error:
            raise StoreUnavailable(f"cannot read {self.path}: {error.strerror}; try again") from error
        finally:
            os.close(descriptor)
        if not found:
            raise self._damaged("neither of its two lines is whole")
        return max(found)

    def create(self, head: Head = EMPTY) -> None:
        """Make the file, durably, where there is none; of several makers the first one counts. Raises OSError."""
        draft = self._draft(head)
        crash_point("store.before_head_named")
        try:
            with suppress(FileExistsError):
                os.link(draft, self.path)
            crash_point("store.after_head_named")
        finally:
            os.unlink(draft)
        crash_point("store.after_head_draft_removed")
        _sync(self.path.parent)

    def replace(self, head: Head) -> None:
        """Put another in its place, durably, whatever it said. Raises OSError."""
        self.close()
        draft = self._draft(head)
        crash_point("store.before_head_named")
        os.rename(draft, self.path)
        crash_point("store.after_head_named")
        _sync(self.path.parent)

    def write(self, head: Head) -> None:
        """Tell of a newer head, in the older of the two slots. Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, _WRITE)
            first, second = _slots(self._descriptor)
            self._slot = 0 if first is None or (second is not None and first < second) else 1
        crash_point("store.before_head")
        os.pwrite(self._descriptor, _line(head), _SLOTS[self._slot])
        crash_point("store.after_head")
        self._slot = 1 - self._slot

    def checkpointed(self) -> int:
        """The position of the last checkpoint that was written, for all that is known; 0 where nothing is."""
        try:
            descriptor = os.open(self.path, _READ)
        except OSError:
            return 0  # `read` says what is wrong
        with os.fdopen(descriptor, "rb") as file:
            line = os.pread(file.fileno(), _LINE_BYTES, _CHECKPOINTED)
        words = line.split()
        position = int(words[1]) if len(words) == 3 and words[1].isdigit() else 0
        return position if line == _checkpointed_line(position) else 0

    def remember_checkpoint(self, position: int) -> None:
        """A checkpoint of `position` is durable. Raises OSError."""
        descriptor = os.open(self.path, _WRITE)
        try:
            crash_point("store.before_checkpointed")
            os.pwrite(descriptor, _checkpointed_line(position), _CHECKPOINTED)
            crash_point("store.after_checkpointed")
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _draft(self, head: Head) -> Path:
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        crash_point("store.before_head_draft")
        with suppress(FileNotFoundError):
            os.unlink(draft)
        crash_point("store.after_old_head_draft")
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            crash_point("store.after_head_draft")
            os.fchmod(descriptor, 0o600)  # whatever the umask
            crash_point("store.after_head_draft_mode")
            for slot in _SLOTS:
                os.pwrite(descriptor, _line(head), slot)
                crash_point("store.after_head_draft_written")
            os.fsync(descriptor)
            crash_point("store.after_head_draft_synced")
        finally:
            os.close(descriptor)
        return draft

    def _damaged(self, why: str) -> StoreDamaged:
        return StoreDamaged(
            f"cannot tell whether all of the log is there: {self.path}, which says how far it had come, is damaged: "
            f"{why}; {ADVICE}"
        )


def _slots(descriptor: int) -> tuple[Head | None, Head | None]:
    first, second = (_parse(os.pread(descriptor, _LINE_BYTES, slot)) for slot in _SLOTS)
    return first, second


def _line(head: Head) -> bytes:
    text = b"outlive-head/1 %d %d %s" % (
        head.position,
        head.recorded_at,
        head.hash.hex().encode(),
    )
    return _checked(text)


def _checkpointed_line(position: int) -> bytes:
    return _checked(b"outlive-checkpointed/1 %d" % position)


def _checked(text: bytes) -> bytes:
    return b"%s %08x\n" % (text, zlib.crc32(text)) + b" " * (_LINE_BYTES - len(text) - 10)


def _parse(line: bytes) -> Head | None:
    """What a slot says; None unless every byte is as it was written."""
    try:
        _, position, recorded_at, head_hash, _ = line.split()
        found = Head(int(position), bytes.fromhex(head_hash.decode()), int(recorded_at))
    except ValueError:
        return None
    return found if _line(found) == line else None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        crash_point("store.before_head_directory")
        os.fsync(descriptor)
        crash_point("store.after_head_directory")
    finally:
        os.close(descriptor)

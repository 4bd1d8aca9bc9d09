"""What is kept of a log outside its database: the file of its head, and that of its checkpoints, if there are any."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from eventstore import trust
from eventstore.chain import EMPTY
from eventstore.checkpoints import CheckpointFile
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head


class Outside:
    """Both files, as a process that appends keeps them. `known` is what it knows the log to be; it may be longer."""

    def __init__(self, head: Path | None, checkpoints: CheckpointFile | None) -> None:
        self._head_file = None if head is None else HeadFile(head)
        self._checkpoints = checkpoints
        self._is_complete = True
        self.known = EMPTY

    def read(self) -> Head | None:
        """The head that is kept; None where there is none. Raises `StoreDamaged`."""
        return None if self._head_file is None else self._head_file.read()

    def require(self, reader: Reader, known: Head | None) -> None:
        """Raise `StoreDamaged` unless the log holds what it was known to be, and its last rows are a whole chain.

        Warns where checkpoints were written and are gone: the disk that they are on may only be away for a while.
        """
        checkpoints = [] if self._checkpoints is None else trust.newest(self._checkpoints)
        if self._head_file is not None:
            trust.require_whole(reader, known, checkpoints=checkpoints)
            if self._checkpoints is not None:
                lost = trust.lost(self._checkpoints, self._head_file.checkpointed())
                self._is_complete = lost is None
                if lost is not None:
                    warnings.warn(
                        f"cannot hold the log against all that is known of it: {lost}", stacklevel=2
                    )

    def take_up(self, known: Head | None) -> None:
        """From now on the log is ours to append to; makes a file for its head where there is none."""
        if known is None and self._head_file is not None:
            self._head_file.create()
        self.known = known or EMPTY

    def note(self, head: Head) -> None:
        """The log has come to `head`, durably. That a file cannot be written is no reason to lose an event.

        A head that is behind, or a checkpoint that is missing, is what a kill leaves, too.
        """
        self.known = head
        if self._head_file is not None:
            with suppress(OSError):
                self._head_file.write(head)
        self.checkpoint_when_due()

    def checkpoint_when_due(self, *, is_last: bool = False) -> None:
        """Write a checkpoint if the log has grown, and the last one is old or this is the last.

        Where others before it are gone it is not remembered, so that whoever comes next hears of that, too.
        """
        file, known = self._checkpoints, self.known
        if file is None:
            return
        with suppress(OSError):
            is_new = file.note(known, is_last=is_last)
            if is_new and self._head_file is not None and self._is_complete and not file.is_cut:
                self._head_file.remember_checkpoint(known.position)

    def close(self) -> None:
        """A last checkpoint, and let go of the files."""
        self.checkpoint_when_due(is_last=True)
        if self._head_file is not None:
            self._head_file.close()

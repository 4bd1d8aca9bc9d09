"""Erasing what an agent wrote: the texts that events name, and their copies in the directories of its attempts."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from eventstore import payloads
from eventstore.crashpoints import crash_point
from eventstore.home_events import PayloadsErased
from eventstore.record import rfc3339
from manager.attemptsecrets import redactor_of
from manager.output import OUTPUT
from manager.recordable import check_reason
from manager.status import AgentStatus, Erasure
from manager.statusfiles import write_file

if TYPE_CHECKING:
    from eventstore.reader import Reader
    from manager.coordinator import Coordinator

DIGESTS_AN_EVENT = 500  # of 64 KiB each takes 67 bytes


class Eraser:
    """Erases for one coordinator; for any thread but the coordinator's own."""

    def __init__(self, coordinator: Coordinator, reader: Reader, home: Path) -> None:
        self._coordinator = coordinator
        self._reader = reader
        self._home = home

    def erase(self, status: AgentStatus, reason: str | None, output: bool, actor: str) -> Erasure:
        """Erase all texts of an agent, recorded first; again, it finishes what was left half done."""
        from projections.catchup import catch_up

        why = check_reason(reason)
        if why is not None:
            why = redactor_of(self._home / status.directory).text(why)
        texts = self._coordinator.call(self._record(status.id, why, output, actor)).result()
        catch_up(self._coordinator.store)  # rows made from the texts, before what was overwritten is scrubbed
        is_scrubbed = self._coordinator.store.scrub()
        files = [str(path.relative_to(self._home)) for path in self._files(status.id, output, actor)]
        return Erasure(texts=texts, files=tuple(files), is_scrubbed=is_scrubbed)

    async def _record(self, agent_id: str, reason: str | None, output: bool, actor: str) -> int:
        await self._coordinator.supervisor.turn.commit_soon()
        digests = payloads.left_of(self._reader, agent_id)
        for start in range(0, max(len(digests), output), DIGESTS_AN_EVENT):
            event = PayloadsErased(
                epoch=self._coordinator.ledger.epoch,
                agent_id=agent_id,
                digests=tuple(digests[start : start + DIGESTS_AN_EVENT]),
                has_output=output,
                reason=reason,
            )
            self._coordinator.log.append(event, actor=actor)
        return len(digests)

    def _files(self, agent_id: str, output: bool, actor: str) -> Iterator[Path]:
        now = rfc3339(self._coordinator.store.head().recorded_at)
        failures = self._reader.events(stream=f"agent/{agent_id}", types=("FAILED", "LOST"))
        failed = {str(event.attempt) for event in failures}
        for attempt in sorted((self._home / "agents" / agent_id).glob("*"), key=_number):
            if attempt.is_symlink():
                continue  # another directory, perhaps another attempt's
            if attempt.name in failed:  # whether it has that file already, or will have it in a moment
                write_file(attempt / "error.log", f"[erased by {actor} at {now}]")
                yield attempt / "error.log"
            for name in OUTPUT if output else ():
                if _empty(attempt / name):
                    yield attempt / name


def _number(path: PurePath) -> tuple[int, str]:
    return len(path.name), path.name


def _empty(path: Path) -> bool:
    """Cut a file of ours to nothing; False where there is none, or it is empty. Who writes to it goes on."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, flags)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size:
                crash_point("coordinator.before_output_erased")
                os.ftruncate(descriptor, 0)
                crash_point("coordinator.after_output_erased")
                return True
        finally:
            os.close(descriptor)
    return False

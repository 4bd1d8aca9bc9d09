"""Everything that can be said for and against a home's log. Changes nothing, takes no lock, asks nobody."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from eventstore import payloads, segments, trust
from eventstore.chain import Verdict, without_evidence
from eventstore.checkpoints import Checkpoint, Key
from eventstore.errors import NoDatabase, StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head
from manager import comparing
from manager.checkpointing import path_of
from manager.comparing import Known
from manager.evidence import known_head, require_log
from manager.home import Home
from projections.checking import differences

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to verify: all, a part, or what follows the newest checkpoint; and what to compare it with, besides.

    With `key`, checkpoints count where they are signed with it.
    """

    start: int | None = None
    until: int | None = None
    from_checkpoint: bool = False
    against: Path | None = None
    key: Key | None = None


ALL = Wanted()


class Verification(NamedTuple):
    """What was found.

    `verdict` is about the events, also compared with `known`, the head that is kept outside of the log (None: there is
    none yet), and with the `checkpoints`; `faults` are about these, the database itself and the rows that are made from
    the events, a line each. `start`: the checkpoint before which nothing was computed.
    """

    verdict: Verdict
    known: Head | None
    faults: tuple[str, ...]
    checkpoints: Known | None = None
    start: Checkpoint | None = None

    @property
    def is_intact(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict.is_intact and not self.faults


def verify_home(home: Home, url: str, wanted: Wanted = ALL) -> Verification | None:
    """Verify the log of a home; a part of it for its hash chain alone. None: nothing was recorded yet.

    Raises `StoreDamaged` for a log of which nothing can be read.
    """
    known, doubt = None, None
    try:
        known = known_head(home)
    except StoreDamaged as error:
        doubt = error
    try:
        reader = Reader.open(url)
    except NoDatabase as error:
        require_log(home, url)
        if known is not None and known.position:
            raise trust.gone(known) from error
        if doubt is not None:
            raise doubt from error
        return None
    with closing(reader):
        if wanted.start is not None or wanted.until is not None:
            return Verification(reader.verify(start=wanted.start or 1, until=wanted.until), known, ())
        found = _chain(home, url, reader, known, wanted)
        if doubt is not None and found.verdict.is_intact:
            found = found._replace(verdict=without_evidence(found.verdict, str(doubt)))
        return found if wanted.from_checkpoint else _with_database(found, reader)


def _chain(home: Home, url: str, reader: Reader, known: Head | None, wanted: Wanted) -> Verification:
    """The hash chain, and whether it is what it was known to be."""
    written = HeadFile(home.head).checkpointed()  # before they are read, for they may become more meanwhile
    ours = comparing.checkpoints(home, path_of(home), wanted.key)
    lost = trust.lost(ours, written)
    start = ours.to_begin_at(reader, wanted.key) if wanted.from_checkpoint else None
    unsaid = trust.unsaid(reader)
    faults = [*ours.faults, *(fault for fault in (lost, unsaid) if fault is not None)]
    verdict = segments.verify(url, start=1 if start is None else start.head.position + 1)
    for heads in (ours.heads, [] if known is None else [known]):
        if verdict.is_intact:
            verdict = trust.contradicted(reader, verdict, heads)
    if wanted.against is not None:
        others, more = comparing.heads_in(home, wanted.against, wanted.key)
        faults += more
        if verdict.is_intact:
            verdict = trust.contradicted(reader, verdict, others)
    return Verification(verdict, known, tuple(faults), ours, start)


def _with_database(found: Verification, reader: Reader) -> Verification:
    """What was found, and what is wrong with the database itself or, where all else is good, with rows made from it."""
    faults = [*found.faults, *reader.faults()]
    if found.verdict.is_intact and not faults:
        faults = [f"{fault}; put it back from a backup" for fault in islice(payloads.wrong(reader), _SHOWN)]
    if found.verdict.is_intact and not faults:
        wrong = islice(differences(reader), _SHOWN)
        faults = [f"{difference}; run `outlive rebuild`" for difference in wrong]
    return found._replace(faults=tuple(faults))

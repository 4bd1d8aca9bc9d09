"""Everything that can be said for and against a home's log. Changes nothing, takes no lock, asks nobody."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import NamedTuple

from eventstore import segments, trust
from eventstore.chain import Verdict, without_evidence
from eventstore.errors import NoDatabase, StoreDamaged
from eventstore.reader import Reader
from eventstore.record import Head
from manager.evidence import known_head, require_log
from manager.home import Home
from projections.checking import differences

_SHOWN = 5


class Verification(NamedTuple):
    """What was found.

    `verdict` is about the events, also compared with `known`, the head that is kept outside of the log (None: there is
    none yet); `faults` are about the database itself and about the rows that are made from the events, a line each.
    """

    verdict: Verdict
    known: Head | None
    faults: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict.is_intact and not self.faults


def verify_home(home: Home, url: str, *, start: int = 1, until: int | None = None) -> Verification | None:
    """Verify the log of a home; with `start` or `until` the hash chain of a part alone. None: nothing was recorded yet.

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
        if start > 1 or until is not None:
            return Verification(reader.verify(start=start, until=until), known, ())
        verdict = segments.verify(url, known=known)
        if doubt is not None and verdict.is_intact:
            verdict = without_evidence(verdict, str(doubt))
        faults = reader.faults()
        if verdict.is_intact and not faults:
            wrong = islice(differences(reader), _SHOWN)
            faults = [f"{difference}; run `outlive rebuild`" for difference in wrong]
    return Verification(verdict, known, tuple(faults))

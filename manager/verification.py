"""Everything that can be said for and against a home's log. Changes nothing, takes no lock, asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from eventstore import payloads, salvage, segments, trust
from eventstore.chain import Verdict, without_evidence
from eventstore.checkpoints import Checkpoint, Key
from eventstore.errors import InvalidRequest, NoDatabase, StoreDamaged
from eventstore.headfile import HeadFile
from eventstore.reader import Reader
from eventstore.record import Head
from eventstore.revision import UNGUARDED, replaced
from manager import comparing, prunes
from manager.checkpointing import path_of
from manager.comparing import Known
from manager.errors import HomeError
from manager.evidence import known_head, require_log
from manager.home import Home
from manager.prunes import Prune
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
    the events, a line each. `start`: the checkpoint before which nothing was computed. `pruned`: what the log tells
    of events that were removed.
    """

    verdict: Verdict
    known: Head | None
    faults: tuple[str, ...]
    checkpoints: Known | None = None
    start: Checkpoint | None = None
    pruned: tuple[Prune, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict.is_intact and not self.faults


def verify_home(home: Home, url: str, wanted: Wanted = ALL) -> Verification | None:
    """Verify the log of a home; a part of it for its chain, head and checkpoints alone. None: nothing was recorded.

    Raises `HomeError` where there is no home, `InvalidRequest` for a part that the log does not have, `StoreDamaged`
    where there is no log any more, `StoreUnavailable` where its end may be still to come.
    """
    if not home.path.is_dir():
        only_reads = (
            "; who only reads a log on a server makes an empty one" if url.startswith("postgresql:") else ""
        )
        raise HomeError(
            f"cannot verify {home.path}: there is no such directory; check --home or OUTLIVE_HOME{only_reads}"
        )
    try:
        return _verified(home, url, wanted)
    except StoreDamaged as error:
        if error.why is None:
            raise
        return _salvaged(home, url, error.why)


def _salvaged(home: Home, url: str, why: str) -> Verification:
    """What can be said of a log whose database cannot be read as a whole."""
    known = None
    with suppress(StoreDamaged):
        known = known_head(home)
    verdict = salvage.verify(url, known, why)
    faults = (f"{why}, elsewhere than in its events; restore a copy",) if verdict.is_intact else ()
    return Verification(verdict, known, faults)


def _verified(home: Home, url: str, wanted: Wanted) -> Verification | None:
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
            raise trust.gone(known, home.database) from error
        if doubt is not None:
            raise doubt from error
        if error.is_misnamed:
            raise
        return None
    with closing(reader):
        if wanted.start is not None or wanted.until is not None:
            found = _part(home, reader, known, wanted)
        else:
            found = _chain(home, url, reader, known, wanted)
        trust.require_arrived(reader, found.verdict)
        if doubt is not None and found.verdict.is_intact:
            found = found._replace(verdict=without_evidence(found.verdict, str(doubt)))
        is_all = (wanted.start, wanted.until, wanted.from_checkpoint) == (None, None, False)
        return _with_database(found, reader) if is_all else found


def _part(home: Home, reader: Reader, known: Head | None, wanted: Wanted) -> Verification:
    """A part, and the rows after it up to the next that is known from elsewhere, whose hash all before it went into."""
    start, until, head = wanted.start or 1, wanted.until, reader.head().position
    if until is not None and not start <= until <= head:
        raise InvalidRequest(
            f"cannot verify {start} to {until}: the log ends at {head}; give positions that it has, the lower first"
        )
    verdict = reader.verify(start=start, until=until)
    ours = comparing.checkpoints(home, path_of(home), wanted.key)
    heads = sorted([*ours.heads, *([] if known is None else [known])])
    last = next((one.position for one in heads if one.position >= verdict.head_position), None)
    within = range(start - 1, (verdict.head_position if last is None else last) + 1)
    if verdict.is_intact:
        further = verdict
        if within.stop - 1 > verdict.head_position:
            further = reader.verify(start=verdict.head_position + 1, until=within.stop - 1)
            further = replace(further, checked=verdict.checked + further.checked)
        if further.is_intact:
            further = trust.contradicted(reader, further, [one for one in heads if one.position in within])
        verdict = verdict if further.is_intact else further
    return Verification(verdict, known, ours.faults, ours.of(within))


def _some(faults: Iterable[str]) -> list[str]:
    """The first of them, and how many more there are."""
    rest = iter(faults)
    shown = list(islice(rest, _SHOWN))
    more = sum(1 for _ in rest)
    return [*shown, f"{more} more of this kind"] if more else shown


def _chain(home: Home, url: str, reader: Reader, known: Head | None, wanted: Wanted) -> Verification:
    """The hash chain, and whether it is what it was known to be."""
    written = HeadFile(home.head).checkpointed()  # before they are read, for they may become more meanwhile
    ours = comparing.checkpoints(home, path_of(home), wanted.key)
    lost = trust.lost(ours, written)
    start = ours.to_begin_at(reader, wanted.key) if wanted.from_checkpoint else None
    unsaid = trust.unsaid(reader)
    pruned = prunes.told(home, url, reader)
    faults = [*ours.faults, *(fault for fault in (lost, unsaid) if fault is not None)]
    faults += _unvouched(home, pruned, ours, wanted.key)
    verdict = segments.verify(url, start=1 if start is None else start.head.position + 1)
    whole = verdict
    if whole.is_intact:
        verdict = trust.contradicted(
            reader, whole, sorted([*ours.heads, *([] if known is None else [known])])
        )
    if wanted.against is not None:
        others, more = comparing.heads_in(home, reader, wanted.against, wanted.key)
        faults += more
        if whole.is_intact:
            verdict = _earlier(verdict, reader, whole, _still_there(reader, wanted.against, others))
    return Verification(verdict, known, tuple(faults), ours, start, tuple(pruned))


def _earlier(verdict: Verdict, reader: Reader, whole: Verdict, known: Iterable[Head]) -> Verdict:
    """`verdict`, or that on a `whole` chain held against what else is `known`, if bad from an earlier row on."""
    try:
        other = trust.contradicted(reader, whole, known)
    except InvalidRequest:  # it can say nothing, which is no answer only where nobody else has said anything
        if verdict.is_intact:
            raise
        return verdict
    is_earlier = other.position is not None and (
        verdict.position is None or other.position < verdict.position
    )
    return other if is_earlier else verdict


def _unvouched(home: Home, pruned: Sequence[Prune], ours: Known, key: Key | None) -> Iterator[str]:
    """What was removed and may not have been pruned: nothing outside the log says so or, with `key`, no signature."""
    wrong = dict(prunes.unvouched(home, pruned))
    yield from wrong.values()
    signed = max((one.head for one in ours.signed), default=None)
    for one in pruned:
        if key is not None and one not in wrong and not ours.is_signed_at(one.event.position):
            why = prunes.not_exported(home, one, pruned, signed)
            if why is not None:
                yield f"not signed: it lacks {one.words}, and no checkpoint of that is signed with the key: {why}"


def _still_there(reader: Reader, path: Path, known: Iterable[Head]) -> Iterator[Head]:
    """What `path` knows of positions that the log has. Raises `InvalidRequest` where all of them were pruned."""
    base, last, is_any_left = reader.base().position, 0, False
    for head in known:
        last = head.position
        if last >= base:
            is_any_left = True
            yield head
    if last and not is_any_left:
        raise InvalidRequest(
            f"cannot compare with {path}: it knows the log up to {last}, and that was pruned up to {base}; "
            "give a later one, or check what the prune exported with --bundle"
        )


def _with_database(found: Verification, reader: Reader) -> Verification:
    """What was found, and what is wrong with the database itself or, where all else is good, with rows made from it."""
    faults = [*found.faults, *_some(reader.faults())]
    if found.verdict.is_intact and not faults:
        faults = _some(f"{fault}; put it back from a backup" for fault in payloads.wrong(reader))
    if found.verdict.is_intact and not faults:
        faults = _some(f"{difference}; run `outlive rebuild`" for difference in differences(reader))
    if not reader.is_guarded():
        faults.append(f"{UNGUARDED}; once all else is as it was written, `outlive db upgrade` puts them back")
    if views := reader.replaced_views():
        faults.append(replaced(views))
    return found._replace(faults=tuple(faults))

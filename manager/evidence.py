"""What a home knows of its log without the log: the head that is kept outside, and the directories of attempts.

No attempt's directory is made before its SPAWNING is durable, so one that the log does not know was cut from it.
"""

from __future__ import annotations

import re
from contextlib import closing

from eventstore import trust
from eventstore.chain import EMPTY
from eventstore.errors import NoDatabase, StoreDamaged
from eventstore.headfile import ADVICE, HeadFile
from eventstore.reader import Reader
from eventstore.record import Head
from manager import homeidentity
from manager.home import Home
from manager.homeidentity import HomeIdentity

SHOWN = 5
_OUR_NAMES = re.compile(r"agents/[0-9a-f]{16}/[1-9][0-9]*")


def require_evidence(home: Home, identity: HomeIdentity, url: str) -> None:
    """Raise `StoreDamaged` where the log at `url` or the file of its head is gone. Needs the home's lock.

    A home of an older release has no such file yet: it gets one if the log is whole and knows every attempt.
    """
    require_log(home, url)
    if known_head(home) is None:
        HeadFile(home.head).create(_head_of_all(home, url))
    if not identity.keeps_head:
        homeidentity.remember_head_is_kept(home.identity, identity)


def require_log(home: Home, url: str) -> None:
    """Raise `StoreDamaged` where agents were started and their log at `url`, in the home, is gone."""
    is_elsewhere = url != f"sqlite:///{home.database}"
    if is_elsewhere or home.database.exists() or next(home.agents.glob("*"), None) is None:
        return
    raise trust.moved(home.database) or StoreDamaged(
        f"cannot find the log {home.database}, and {home.agents} holds agents that it knows: somebody removed it; "
        "put it back, or choose another home"
    )


def known_head(home: Home) -> Head | None:
    """How far the log had come, as the file outside of it says; None for a home that has none yet.

    Raises `StoreDamaged` where the file is gone or says nothing.
    """
    found = HeadFile(home.head).read()
    if found is None and home.identity.exists() and homeidentity.read(home.identity).keeps_head:
        raise StoreDamaged(
            f"cannot tell whether all of the log is there: {home.head}, which says how far it had come, is gone; "
            f"{ADVICE}"
        )
    return found


def unknown_attempts(home: Home, reader: Reader) -> list[str]:
    """Directories of attempts, relative to the home, that the log does not know."""
    known = {
        directory
        for event in reader.events(types=("SPAWNING",))
        if isinstance(directory := event.as_json()["data"].get("directory"), str)
    }
    found = [path for path in home.agents.glob("*/*") if path.is_dir() and not path.is_symlink()]
    return sorted({str(path.relative_to(home.path)) for path in found} - known)


def _head_of_all(home: Home, url: str) -> Head:
    try:
        reader = Reader.open(url)
    except NoDatabase:
        return EMPTY
    with closing(reader):
        head = reader.head()
        trust.require_whole(reader, head, rows=head.position)
        unknown = [name for name in unknown_attempts(home, reader) if _OUR_NAMES.fullmatch(name)]
        if unknown:
            raise StoreDamaged(
                f"cannot use the log: it ends at {head.position} and does not know {_some(unknown)}, which "
                "were started after it had been recorded: its end was cut off, or an older copy put back; put the "
                "newest copy back"
            )
        return head


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

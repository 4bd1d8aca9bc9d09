"""Before a report is read: the projections that follow the log brought up to it, where the database can be written."""

from __future__ import annotations

from eventstore.errors import OutliveError
from eventstore.reader import Reader
from projections.checkpoints import behind


def bring_up_to_date(reader: Reader, url: str) -> str | None:
    """Take in what is missing. Where that cannot be done: how much the reader's rows lack, and why; else None."""
    missing = behind(reader)
    if not missing:
        return None
    # Only now: most readers find nothing to do, and need no SQLAlchemy.
    from eventstore.store import EventStore
    from projections.catchup import catch_up

    try:
        with EventStore.open(url, home="", host="", create=False) as store:
            catch_up(store)
    except OutliveError as error:
        left = behind(reader)
        if not left:
            return None
        last = "the last event is" if left == 1 else f"the last {left} events are"
        return (
            f"{last} not in it yet; a coordinator, or a report of whoever may write, takes that in: {error}"
        )
    return None

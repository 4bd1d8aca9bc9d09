"""A program that brings projections up to the log: `python -m tests.store.following URL catch-up|rebuild`."""

import sys

from eventstore.store import EventStore
from projections.catchup import catch_up
from projections.rebuild import rebuild


def main(url: str, what: str) -> None:
    """Do it once; `OUTLIVE_CRASH` makes it kill itself."""
    with EventStore.open(url, home="home-1", host="host-1") as store:
        print(catch_up(store) if what == "catch-up" else rebuild(store))


if __name__ == "__main__":
    main(*sys.argv[1:])

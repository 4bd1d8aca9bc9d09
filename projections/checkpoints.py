"""How far the projections that follow the log have come. Loads no SQLAlchemy, so that a report starts quickly."""

from __future__ import annotations

from collections.abc import Mapping

from eventstore.reader import Reader

# By name: the version of the fold and of its tables. Raised when either changes: the rows are then made anew.
FOLLOWING_VERSIONS: dict[str, int] = {"timeline": 1, "runs": 2, "coordinators": 1}


def checkpoints(reader: Reader) -> Mapping[str, tuple[int, int]]:
    """By name: which version of a projection the rows are of, and up to which position."""
    rows = reader.rows("SELECT name, version, position FROM projections")
    return {name: (version, position) for name, version, position in rows}


def behind(reader: Reader) -> int:
    """How many events the one that lags most has still to take in: all of them where its rows are to be made anew."""
    head, kept = reader.head().position, checkpoints(reader)
    lags = [0]
    for name, wanted in FOLLOWING_VERSIONS.items():
        version, position = kept.get(name, (wanted, 0))
        lags.append(head - position if version == wanted and position <= head else max(head, 1))
    return max(lags)

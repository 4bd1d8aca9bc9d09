"""Which projections there are, and the tables that each of them keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Table

from eventstore.inline import Projection
from projections import tables
from projections.agents import AgentsProjection
from projections.coordinators import CoordinatorsProjection
from projections.runs import RunsProjection
from projections.timeline import TimelineProjection


class Kind(NamedTuple):
    """A projection: `make` takes tables, the live ones or others of their shape. Inline: never behind the log."""

    make: Any
    tables: tuple[Table, ...]
    is_inline: bool = False

    @property
    def name(self) -> str:
        """The projection's name."""
        return str(self.make.name)

    @property
    def version(self) -> int:
        """The version of the fold."""
        return int(self.make.version)

    def over(self, kept: Sequence[Table]) -> Projection:
        """The projection that keeps these tables."""
        made: Projection = self.make(*kept)
        return made


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(AgentsProjection, (tables.agents, tables.attempts), is_inline=True),
        Kind(TimelineProjection, (tables.timeline,)),
        Kind(RunsProjection, (tables.runs,)),
        Kind(CoordinatorsProjection, (tables.coordinators,)),
    )
}
FOLLOWING: tuple[Kind, ...] = tuple(kind for kind in KINDS.values() if not kind.is_inline)

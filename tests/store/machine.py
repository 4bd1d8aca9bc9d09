"""The contract of the log in any order that hypothesis thinks of, on a real database, beside a list in memory.

Three stores write: two of one home, of which the older is fenced by the younger, and one of another. All histories
share a database; each has streams and homes of its own, and begins where the one before ended.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, islice
from typing import Any, ClassVar, NamedTuple, Protocol, cast
from uuid import NAMESPACE_OID, uuid5

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventstore.appending import Batch
from eventstore.errors import OutliveError, StoreUnavailable, VersionConflict
from eventstore.events import Event
from eventstore.record import COLUMNS, NewEvent
from eventstore.store import EventStore
from tests.store.reference import Answer, Reference, columns
from tests.support.histories import note, samples

HOMES = (0, 0, 1)  # of the writers
STREAMS = 3
HOME = COLUMNS.index("home")
TRIES = 200
writers = st.integers(0, len(HOMES) - 1)
same = st.sampled_from(
    [None, None, None, *range(len(HOMES))]
)  # None: who wrote last, and may think it is alone
streams = st.integers(0, STREAMS - 1)
places = st.integers(0, 20)
bodies: st.SearchStrategy[Event] = st.one_of(st.text("aé☃", max_size=3).map(note), st.sampled_from(samples()))
# Of one batch: its stream, its events, and how far the version that is expected is off.
batches = st.tuples(streams, st.lists(bodies, min_size=1, max_size=3), st.sampled_from([*[0] * 9, -1, 1, 7]))
troubles = st.sampled_from([*[None] * 5, *range(10)])
AGAIN = ("same", "other content", "same", "other order", "more", "other stream", "a part", "twice")
Wanted = list[tuple[int, list[Event], int]]


class Trouble(Protocol):
    """What can befall a database."""

    kinds: tuple[str, ...]

    def begin(self, kind: str, store: EventStore) -> None:
        """An append of the store fails, or does not; nobody is told whether it was done."""

    def end(self) -> None:
        """As before."""


class Place(NamedTuple):
    """Where the histories are played."""

    url: str
    trouble: Trouble


class Order(NamedTuple):
    """What was asked for once."""

    batches: list[Batch]
    epoch: int | None


class Contract(RuleBasedStateMachine):
    """See the module. `place` is set in a subclass."""

    place: ClassVar[Place]
    histories: ClassVar[Any] = count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"{next(Contract.histories)}"
        self.ids = count()
        self.orders: list[Order] = []
        self.held = [0] * len(HOMES)
        self.last = 0
        self.had_trouble = False
        self.stores: list[EventStore] = []
        for writer in range(len(HOMES)):
            self.stores.append(self._open(writer))
        self.reference = Reference(self.stores[0].head())

    @rule(
        writer=same, wanted=st.lists(batches, min_size=1, max_size=2),
        epoch=st.sampled_from(["none", "held"] * 3 + ["next"]), trouble=troubles,
    )  # fmt: skip
    def append(self, writer: int | None, wanted: Wanted, epoch: str, trouble: int | None) -> None:
        """Batches for several streams, or for one of them twice; rightly or not."""
        made, versions = [], dict[str, int]()
        for number, events, off in wanted:
            stream = self._stream(number)
            version = versions.get(stream, self.reference.version(stream))
            versions[stream] = version + len(events)
            news = [self._new(event) for event in events]
            made.append(Batch(stream=stream, events=news, expected_version=max(0, version + off)))
        writer = self.last = self.last if writer is None else writer
        held = self.held[writer]
        order = Order(made, {"none": None, "held": held, "next": held + 1}[epoch])
        self.orders.append(order)
        self._ask(writer, order, trouble)

    @precondition(lambda self: self.orders)
    @rule(
        writer=writers, which=places, trouble=troubles,
        how=st.sampled_from(AGAIN),
    )  # fmt: skip
    def append_again(self, writer: int, which: int, how: str, trouble: int | None) -> None:
        """What was asked for before, whatever was answered; or with the same ids something else."""
        before = self.orders[which % len(self.orders)]
        first, *others = before.batches
        events = cast(list[NewEvent], list(first.events))
        changed = {
            "same": first,
            "other content": replace(first, events=[replace(one, event=note("other")) for one in events]),
            "other order": replace(first, events=events[::-1]),
            "other stream": replace(first, stream=self._stream(7)),
            "a part": replace(first, events=events[:-1]),
            "more": replace(first, events=[*events, self._new(note("more"))]),
            "twice": replace(first, events=[*events, *events[:1]]),
        }[how]
        self._ask(writer, Order([changed, *others], before.epoch), trouble)

    @rule(number=streams, body=bodies, is_same=st.booleans(), pair=st.sampled_from([(0, 1), (0, 2)]))
    def append_at_once(self, number: int, body: Event, is_same: bool, pair: tuple[int, int]) -> None:
        """Two want the same version of a stream: one gets it, and the same event goes into the log once."""
        stream = self._stream(number)
        new, version = self._new(body), self.reference.version(stream)
        news = [new, new if is_same else self._new(body)]
        orders = [Order([Batch(stream=stream, events=[one], expected_version=version)], None) for one in news]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(self._answer, pair, orders))
        rows = [answer for answer in found if not isinstance(answer, type)]
        assert rows, "nobody got it"
        winner = (
            [self._home(one) for one in pair].index(rows[0][0][HOME]) if is_same else found.index(rows[0])
        )
        assert found[winner] == self.reference.append(self._home(pair[winner]), *orders[winner])
        assert found[1 - winner] == (found[winner] if is_same else VersionConflict)

    @rule(writer=writers, what=st.sampled_from(["taken", "opened", "back", "forth"]))
    def befall(self, writer: int, what: str) -> None:
        """A home is taken, a store opened again, all clocks are set."""
        if what == "taken":
            home, stream = self._home(writer), f"home/{self._home(writer)}"
            new, store = self._new(note("epoch")), self.stores[writer]
            self.held[writer] = self.reference.begin(home, stream, new)
            assert self._tried(lambda: store.begin_epoch(lambda _: new, stream=stream)) == self.held[writer]
        elif what == "opened":
            self.stores[writer].close()
            self.stores[writer] = self._open(writer)
        else:
            self.reference.now = max(0, self.reference.now + (1000 if what == "forth" else -700))

    @rule(
        reader=writers, after=places, until=st.none() | places, limit=st.none() | places,
        numbers=st.none() | st.sets(streams),
    )  # fmt: skip
    def look(
        self, reader: int, after: int, until: int | None, limit: int | None, numbers: set[int] | None
    ) -> None:
        """By position, by stream, a few; what follows a position; which ids are known."""
        store, first = self.stores[reader], self.reference.base.position + after
        asked: dict[str, Any] = {
            "after": first,
            "until": None if until is None else self.reference.base.position + until,
            "streams": None if numbers is None else [self._stream(number) for number in sorted(numbers)],
            "limit": limit,
        }
        assert list(map(columns, store.read(**asked))) == self.reference.read(**asked)
        if wanted := self.reference.read(first):
            assert list(map(columns, islice(store.follow(after=first), len(wanted)))) == wanted
        if self.orders:
            order = self.orders[after % len(self.orders)]
            ids = {one.event_id for batch in order.batches for one in batch.events}
            known = ids & {row.event_id for row in self.reference.rows}
            assert self._tried(lambda: store.known(sorted(ids))) == known

    @invariant()
    def head(self) -> None:
        """Where the log ends, with its hash and time, as any of them sees it."""
        assert self.stores[len(self.orders) % len(HOMES)].head() == self.reference.head

    def teardown(self) -> None:
        """All rows, and the chain."""
        try:
            after = self.reference.base.position
            assert list(map(columns, self.stores[0].read(after=after))) == self.reference.read(after)
            verdict = self.stores[0].verify(start=after + 1)
            assert (verdict.is_intact, verdict.head_hash) == (True, self.reference.head.hash)
        finally:
            for store in self.stores:
                store.close()

    # --- details ------------------------------------------------------------------------------------------------------

    def _ask(self, writer: int, order: Order, trouble: int | None) -> None:
        wanted = self.reference.append(self._home(writer), *order)
        if trouble is not None:
            self.had_trouble = True
            kinds = self.place.trouble.kinds
            self.place.trouble.begin(kinds[trouble % len(kinds)], self.stores[writer])
        try:
            assert self._answer(writer, order) == wanted
        finally:
            self.place.trouble.end()

    def _answer(self, writer: int, order: Order) -> Answer:
        """What the store answers, however often it has to be asked."""
        store = self.stores[writer]
        try:
            rows = self._tried(lambda: store.append_many(order.batches, epoch=order.epoch))
        except OutliveError as error:
            return type(error)
        return [columns(row) for row in rows]

    def _tried(self, work: Callable[[], Any]) -> Any:
        for _ in range(TRIES):
            try:
                return work()
            except StoreUnavailable:
                assert self.had_trouble, "nothing had befallen it"
                self.place.trouble.end()
        raise AssertionError("it does not come back")

    def _open(self, writer: int) -> EventStore:
        home = self._home(writer)
        return EventStore.open(
            self.place.url, home=home, host=f"host of {home}", clock=lambda: self.reference.now
        )

    def _home(self, writer: int) -> str:
        return f"home-{self.name}-{HOMES[writer]}"

    def _stream(self, number: int) -> str:
        return f"x-{self.name}/{number}"

    def _new(self, event: Event) -> NewEvent:
        number = next(self.ids)
        return NewEvent(
            event=event,
            event_id=str(uuid5(NAMESPACE_OID, f"{self.name}:{number}")),
            occurred_at=number,
            actor="a model",
            correlation_id=f"c{number}",
        )

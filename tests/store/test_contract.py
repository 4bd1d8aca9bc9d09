"""The contract of the log, on both databases, in every order that hypothesis thinks of; and defects that it finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from eventstore import appending, postgres
from eventstore.appending import Appending, Order
from eventstore.errors import StoreUnavailable
from eventstore.memory import NOTHING, First
from eventstore.postgres import PostgresBackend
from eventstore.postgres_batch import BatchingLink
from eventstore.postgres_errors import ERRORS
from eventstore.statements import Query
from eventstore.store import EventStore
from tests.store.machine import Contract, Place
from tests.support.cluster import Cluster, name_of
from tests.support.proxy import Proxy, proxied
from tests.support.tally import Tally

ROW = "- stateful model of the log in {}: histories"


class Failures:
    """A store's own transaction fails once, before its commit or behind it."""

    kinds: tuple[str, ...] = ("not stored", "stored, not told")

    def __init__(self) -> None:
        self._changed: list[tuple[object, str]] = []

    def begin(self, kind: str, store: EventStore) -> None:
        """From now on, until it has failed."""
        owner, name = (store, "_write") if kind == "not stored" else (store._backend, "wake")
        work = getattr(owner, name)

        def fail(*given: object) -> None:
            self.end()
            work(*given)
            raise StoreUnavailable("cannot append: nobody knows; try again")

        setattr(owner, name, fail)
        self._changed.append((owner, name))

    def end(self) -> None:
        """As before."""
        for owner, name in self._changed:
            vars(owner).pop(name, None)
        self._changed.clear()


class Network(Failures):
    """That, and the way to a server: cut, a COMMIT or its answer lost, connections ended by the server."""

    kinds = (*Failures.kinds, "cut", "COMMIT lost", "answer lost", "connections ended")

    def __init__(self, cluster: Cluster, proxy: Proxy, url: str) -> None:
        super().__init__()
        self._cluster = cluster
        self._proxy = proxy
        self._database = name_of(url)

    def begin(self, kind: str, store: EventStore) -> None:
        """From now on."""
        if kind == "cut":
            self._proxy.state = "cut"
        elif kind == "COMMIT lost":
            self._proxy.drops = 1
        elif kind == "answer lost":
            self._proxy.loses = 1
        elif kind == "connections ended":
            query = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{self._database}'"
            self._cluster.run(query)
        else:
            super().begin(kind, store)

    def end(self) -> None:
        """As before."""
        super().end()
        self._proxy.state = "open"
        self._proxy.loses = self._proxy.drops = 0


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Place:
    """A file."""
    return Place(f"sqlite:///{tmp_path}/events.db", Failures())


@pytest.fixture
def on_postgres(cluster: Cluster) -> Iterator[Place]:
    """A database of a server that is reached through a proxy."""
    url = cluster.new_database()
    with proxied(cluster.directory) as proxy:
        yield Place(proxy.url(url), Network(cluster, proxy, url))
    cluster.drop(url)


def _run(place: Place, number: int | None = None, **options: Any) -> None:
    machine: Any = type("Placed", (Contract,), {"place": place})
    if number is not None:
        machine = seed(number)(machine)
    health = list(HealthCheck)
    chosen = settings(deadline=None, database=None, suppress_health_check=health, **options)
    run_state_machine_as_test(machine, settings=chosen)


POSTGRES = pytest.mark.postgres


@pytest.mark.parametrize(("kind", "histories"), [("sqlite", 20), pytest.param("postgres", 6, marks=POSTGRES)])
def test_the_contract_in_any_order(
    kind: str, histories: int, request: pytest.FixtureRequest, tally: Tally
) -> None:
    """The same histories on both."""
    place = request.getfixturevalue(f"on_{kind}")
    _run(place, max_examples=histories, stateful_step_count=25, derandomize=True)
    tally(ROW.format(kind), runs=histories)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "histories"), [("sqlite", 1000), pytest.param("postgres", 200, marks=POSTGRES)]
)
def test_the_contract_in_long_histories(
    kind: str, histories: int, request: pytest.FixtureRequest, tally: Tally
) -> None:
    """As above, from a seed that is printed."""
    number = random.SystemRandom().randrange(10**9)
    print(f"seed {number}")
    place = request.getfixturevalue(f"on_{kind}")
    _run(place, number, max_examples=histories, stateful_step_count=50)
    tally(ROW.format(kind), runs=histories)


Plant = Callable[[pytest.MonkeyPatch], None]
true_add, true_init, true_begin = Appending.add, Appending.__init__, PostgresBackend._begin


def _epochs_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Appending, "_check_epoch", lambda *_: None)


def _versions_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    def add(self: Appending, order: Order) -> Any:
        batches = tuple((stream, self.version(stream), drafts) for stream, _, drafts in order.batches)
        return true_add(self, order._replace(batches=batches))

    patch.setattr(Appending, "add", add)


def _content_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(appending, "_content", lambda _: ())


def _what_is_there_is_stored_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Appending, "_answer", lambda *_: [])


def _time_goes_back(patch: pytest.MonkeyPatch) -> None:
    def init(self: Appending, *given: Any, now: int, **named: Any) -> None:
        true_init(self, *given, now=now, **named)
        self._recorded_at = now

    patch.setattr(Appending, "__init__", init)


def _a_commit_without_an_answer_counts(patch: pytest.MonkeyPatch) -> None:
    true_commit = BatchingLink.commit

    def commit(self: BatchingLink) -> None:
        with suppress(*ERRORS):
            true_commit(self)

    patch.setattr(BatchingLink, "commit", commit)


def _what_is_known_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    def begin(self: PostgresBackend, seconds: float, lock: str, first: First = NOTHING) -> Any:
        return true_begin(self, seconds, lock, first._replace(check=first.check and Query("SELECT 1")))

    patch.setattr(PostgresBackend, "_begin", begin)


def _the_lock_is_not_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(postgres, "_LOG_LOCK", "SELECT 1")


LONG = pytest.mark.faults
DEFECTS = [
    ("sqlite", _epochs_are_not_looked_at),
    ("sqlite", _versions_are_not_looked_at),
    ("sqlite", _content_is_not_compared),
    ("sqlite", _what_is_there_is_stored_again),
    pytest.param("sqlite", _time_goes_back, marks=LONG),
    pytest.param("postgres", _a_commit_without_an_answer_counts, marks=POSTGRES),
    pytest.param("postgres", _what_is_known_is_not_checked, marks=(POSTGRES, LONG)),
    pytest.param("postgres", _the_lock_is_not_taken, marks=(POSTGRES, LONG)),
]


@pytest.mark.parametrize(("kind", "plant"), DEFECTS, ids=lambda one: getattr(one, "__name__", one).strip("_"))
def test_a_planted_defect_is_found(
    kind: str, plant: Plant, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Within a few histories."""
    place = request.getfixturevalue(f"on_{kind}")
    plant(monkeypatch)
    with pytest.raises((AssertionError, Flaky)):
        _run(place, max_examples=200, stateful_step_count=25, derandomize=True, phases=[Phase.generate])
    monkeypatch.undo()
    tally("- stateful model of the log given a defect: found")

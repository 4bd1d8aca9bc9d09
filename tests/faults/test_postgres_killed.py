"""The whole server killed under appends, many times: every event that was acknowledged is there, and each once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from uuid import NAMESPACE_OID, uuid5

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.store import EventStore
from tests.support.cluster import Cluster, running_cluster
from tests.support.histories import new, note
from tests.support.processes import eventually
from tests.support.proxy import COMMIT, Proxy, proxied
from tests.support.tally import Tally

pytestmark = pytest.mark.postgres
ROW = "15 PostgreSQL killed, cut, silent, or its answer lost, under appends"
THREADS = 4
APPENDS_A_KILL = 1_000


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A server that nobody else uses."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def url(own: Cluster) -> Iterator[str]:
    """An empty database of it."""
    url = own.new_database()
    yield url
    own.drop(url)


class Appender:
    """Appends from several threads, each to its stream; whatever is not answered is tried again under the same id."""

    def __init__(self, store: EventStore, count: int, name: str = "x") -> None:
        self._store = store
        self._count = count
        self._name = name
        self.acknowledged: list[tuple[str, int]] = []
        self.unanswered = 0
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(f"{name}/{number}",)) for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, stream: str) -> None:
        try:
            for version in range(self._count // THREADS):
                event = new(note(), event_id=str(uuid5(NAMESPACE_OID, f"{stream}:{version}")))
                self._append(stream, event, version)
        except BaseException as error:
            self.failures.append(error)

    def _append(self, stream: str, event: object, version: int) -> None:
        while True:
            try:
                [row] = self._store.append(stream, [event], expected_version=version, epoch=None)  # type: ignore[list-item]
            except StoreUnavailable:
                self.unanswered += 1
                time.sleep(0.02)
            else:
                self.acknowledged.append((row.event_id, row.position))
                return

    @property
    def is_over(self) -> bool:
        """Whether all is appended."""
        return not any(thread.is_alive() for thread in self._threads)

    def judge(self) -> None:
        """When all is appended: nothing that was acknowledged is lost or doubled, and the chain is whole."""
        for thread in self._threads:
            thread.join()
        assert self.failures == []
        streams = [f"{self._name}/{number}" for number in range(THREADS)]
        rows = {row.event_id: row.position for row in self._store.read(streams=streams)}
        assert rows == dict(self.acknowledged)
        assert len(rows) == len(self.acknowledged) == self._count
        assert self._store.verify().is_intact


def _kill_often(own: Cluster, url: str, *, kills: int, seed: int) -> int:
    chance = random.Random(seed)
    with EventStore.open(url, home="home-1", host="host-1") as store:
        for number in range(kills):
            appender = Appender(store, APPENDS_A_KILL, name=str(number))
            time.sleep(chance.uniform(0.0, 0.5))
            own.kill()
            own.start()
            appender.judge()
        assert store.head().position == kills * APPENDS_A_KILL
    return kills


def test_a_server_killed_five_times(own: Cluster, url: str, tally: Tally) -> None:
    """SIGKILL to all of its processes at once, during a thousand appends of four threads, at a moment by chance."""
    tally(ROW, runs=_kill_often(own, url, kills=5, seed=1))


@pytest.mark.faults
def test_a_server_killed_fifty_times(own: Cluster, url: str, tally: Tally) -> None:
    """The same, fifty times on one log."""
    tally(ROW, runs=_kill_often(own, url, kills=50, seed=2))


@pytest.fixture
def proxy(own: Cluster) -> Iterator[Proxy]:
    """Between the store and its server."""
    with proxied(own.directory) as proxy:
        yield proxy


def test_the_answer_that_was_lost_was_that_to_a_begin(url: str, proxy: Proxy) -> None:
    """What the proxy loses is a COMMIT, or the answer to it: the event is not there, or it is."""
    with EventStore.open(proxy.url(url), home="home-1", host="host-1") as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
        proxy.loses = 1
        with pytest.raises(StoreUnavailable):
            store.append("x/1", [new(note())], expected_version=1, epoch=None)
        assert store.head().position == 2
        proxy.drops = 1
        with pytest.raises(StoreUnavailable):
            store.append("x/1", [new(note())], expected_version=2, epoch=None)
        assert store.head().position == 2


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.faults)])
def test_answers_lost_after_commit_and_connections_cut(
    url: str, proxy: Proxy, tally: Tally, rounds: int
) -> None:
    """By chance one or the other, or a COMMIT that arrives late or never, during the appends of four threads."""
    chance = random.Random(rounds)
    with EventStore.open(proxy.url(url), home="home-1", host="host-1") as store:
        appender = Appender(store, rounds * 200)
        for _ in range(rounds):
            time.sleep(chance.uniform(0.01, 0.1))
            what = chance.random()
            if what < 0.4:
                proxy.loses += 1
                continue
            if what < 0.7:
                proxy.holds = COMMIT
                eventually(lambda: proxy.held or appender.is_over, "a COMMIT is kept back")
            proxy.state = "cut"
            time.sleep(chance.uniform(0.0, 0.1))
            proxy.state = "open"
            time.sleep(chance.choice((0.0, 0.1)))
            proxy.deliver()
        proxy.loses, proxy.holds = 0, b""
        appender.judge()
        assert proxy.lost > 0
        tally(ROW, runs=rounds)

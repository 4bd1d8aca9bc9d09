"""URLs that name several servers: the log is at the one that takes writes, wherever that is."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from eventstore.postgres_errors import CONNECT_SECONDS, place_of
from eventstore.reader import Reader
from eventstore.store import EventStore
from tests.support.cluster import PORT, Cluster, name_of
from tests.support.histories import new, note

pytestmark = pytest.mark.postgres
TWO = "postgresql://me@one:5433,two:5434/log"


@pytest.mark.parametrize(
    ("url", "read", "written", "seconds"),
    [
        ("postgresql://me@one/log", None, None, CONNECT_SECONDS),
        (TWO, "read-write", "read-write", 2 * CONNECT_SECONDS),
        (f"{TWO}?target_session_attrs=prefer-standby", "prefer-standby", "read-write", 2 * CONNECT_SECONDS),
        (f"{TWO}?connect_timeout=2", "read-write", "read-write", 4),
        ("postgresql:///log?host=/one,/two,/three", "read-write", "read-write", 3 * CONNECT_SECONDS),
        ("postgresql:///log?hostaddr=10.0.0.1,10.0.0.2", "read-write", "read-write", 2 * CONNECT_SECONDS),
    ],
)
def test_what_a_url_names(url: str, read: str | None, written: str | None, seconds: float) -> None:
    """Of one server, it; of several, the one that takes writes, unless readers want another."""
    place = place_of(url)
    assert place.parameters.get("target_session_attrs") == read
    assert place.to_write().parameters.get("target_session_attrs") == written
    assert place.connect_seconds == seconds


@pytest.fixture
def silent() -> Iterator[list[Path]]:
    """Two directories where something listens that answers nobody."""
    with ExitStack() as stack:
        places = []
        for _ in range(2):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp")))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(place / f".s.PGSQL.{PORT}"))
            listener.listen(64)
            places.append(place)
        yield places


def test_servers_that_say_nothing_used_up_the_time_for_the_one_that_would(
    cluster: Cluster, url: str, silent: list[Path]
) -> None:
    """Each has its seconds; the third is the log's."""
    hosts = ",".join(map(str, [*silent, cluster.directory]))
    where = f"postgresql://owner@/{name_of(url)}?host={hosts}&connect_timeout=4"
    with EventStore.open(url, home="home-1", host="host-1"):
        pass
    with EventStore.open(where, home="home-1", host="host-1", create=False) as store:
        store.append("x/1", [new(note())], expected_version=0, epoch=None)
    with closing(Reader.open(url)) as reader:
        assert reader.head().position == 1

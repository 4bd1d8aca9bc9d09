"""A host whose packets vanish and whose connections do not end: nobody waits for it for long, nor it for others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.postgres_errors import CONNECT_SECONDS, SILENCE_SECONDS
from eventstore.postgres_source import ANSWER_SECONDS
from eventstore.store import EventStore
from tests.support.cluster import Cluster, running_cluster
from tests.support.histories import new, note
from tests.support.network import Host, hosts
from tests.support.story import ROOT
from tests.support.tally import Tally

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
ROW = "15 a host cut off the network without a word"
SLACK_SECONDS = 5.0  # on a busy machine
AWAY = """
import json, sys, threading, time
from contextlib import suppress
from eventstore.errors import StoreUnavailable
from eventstore.reader import Reader
from eventstore.store import EventStore
from tests.support.histories import new, note
url, took, held, go = sys.argv[1], {}, threading.Event(), threading.Event()
store = EventStore.open(url, home="away", host="away")
store.append("x/1", [new(note())], expected_version=0, epoch=None)
holding = EventStore.open(url, home="away", host="away")
reader, asking = Reader.open(url), Reader.open(url)

def timed(name, work):
    def run():
        begun = time.monotonic()
        try:
            work()
        except StoreUnavailable:
            took[name] = time.monotonic() - begun
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def hold():
    with suppress(StoreUnavailable), holding.write():
        held.set()
        go.wait()

threads = [timed("answer", lambda: asking.rows("SELECT pg_sleep(300)"))]
threading.Thread(target=hold, daemon=True).start()
held.wait()
print("up", flush=True)
time.sleep(0.5)
threads += [
    timed("append", lambda: store.append("x/1", [new(note())], expected_version=1, epoch=None)),
    timed("read", reader.head),
]
for thread in threads:
    thread.join()
print(json.dumps(took), flush=True)
sys.stdin.readline()
go.set()
while True:
    try:
        store.append("x/2", [new(note())], expected_version=0, epoch=None)
        break
    except StoreUnavailable:
        time.sleep(0.2)
print(reader.head().position, flush=True)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[str, list[Host]]]:
    """The address of the server, and a host."""
    with hosts(1) as made:
        yield made


@pytest.fixture(scope="module")
def own(network: tuple[str, list[Host]]) -> Iterator[Cluster]:
    """A server that is heard on the bridge."""
    with running_cluster(address=network[0]) as cluster:
        yield cluster


def test_a_host_that_is_cut_off_held_others_up_and_hung(
    own: Cluster, network: tuple[str, list[Host]], tally: Tally
) -> None:
    """It has the write lock, a query under way, and connections that are idle; then no packet comes through."""
    address, [host] = network
    url = own.new_database()
    there = own.url_at(address, url)
    away = subprocess.Popen(
        [*host.enter, sys.executable, "-c", AWAY, there],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert away.stdin is not None
    assert away.stdout is not None
    try:
        with closing(EventStore.open(url, home="here", host="here")) as store:
            assert away.stdout.readline() == "up\n"
            host.cut()
            begun = time.monotonic()
            _append(store)
            assert time.monotonic() - begun < 5.0 + SLACK_SECONDS  # idle_in_transaction_session_timeout
            took = json.loads(away.stdout.readline())
            assert took["append"] < ANSWER_SECONDS + SLACK_SECONDS
            assert took["read"] < SILENCE_SECONDS + CONNECT_SECONDS + SLACK_SECONDS
            assert took["answer"] < SILENCE_SECONDS + SLACK_SECONDS
            host.mend()
            away.stdin.write("\n")
            away.stdin.flush()
            assert away.stdout.readline() == "3\n"
            assert store.verify().is_intact
    finally:
        away.kill()
        away.communicate()
    tally(ROW)


def _append(store: EventStore) -> None:
    event = new(note())
    while True:
        try:
            store.append("y/1", [event], expected_version=0, epoch=None)
        except StoreUnavailable:
            continue
        return

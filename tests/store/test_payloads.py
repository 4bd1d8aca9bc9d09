"""Texts beside the log: written with their event or not at all, erased with the event that says so, and then gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import events as ev
from eventstore import payloads
from eventstore.errors import VersionConflict
from eventstore.home_events import PayloadsErased
from eventstore.payloads import Payload
from eventstore.record import NewEvent
from eventstore.store import EventStore
from projections.agents import AgentsProjection
from projections.catchup import catch_up
from projections.checking import check
from projections.fingerprint import of_line
from projections.rebuild import rebuild
from tests.store.agents import RUNNING, STARTED
from tests.store.conftest import Database, on_sqlite
from tests.support.histories import new, note, reaped, spawning

SEVEN = {"kind": "code", "code": 7}
LIVED: tuple[ev.Event, ...] = (spawning(), STARTED, RUNNING, reaped())


def failure(payload: Payload) -> NewEvent:
    """A failure that names `payload`, with it."""
    failed = ev.AgentFailed(
        attempt=1, cause="exit", message="7", phase=None, errno=None, last_output=payload.reference
    )
    event = new(failed)
    return NewEvent(
        event=failed,
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        actor=event.actor,
        correlation_id=event.correlation_id,
        payload=payload,
    )


def erasure(*some: Payload) -> NewEvent:
    """The event that erases them."""
    digests = tuple(str(payload.reference.digest) for payload in some)
    return new(PayloadsErased(epoch=1, agent_id="a", digests=digests, has_output=False, reason=None))


def append(store: EventStore, stream: str, *events: NewEvent) -> None:
    """At the end of its stream."""
    version = sum(1 for _ in store.read(stream=stream))
    store.append(stream, events, expected_version=version, epoch=None)


def lines(store: EventStore, payload: Payload) -> tuple[str, ...]:
    """What a reader is shown of it."""
    with closing(store.reader()) as reader:
        return payloads.lines_of(reader, {"digest": payload.reference.digest, "text": None})


def test_a_text_is_there_with_its_event(store: EventStore) -> None:
    """The digest is SHA-256 over salt and text, and a reader gets the lines."""
    payload = Payload("a", b"s" * 32, "one\ntwö")
    append(store, "agent/a", failure(payload))
    assert payload.reference.digest == sha256(b"s" * 32 + "one\ntwö".encode()).hexdigest()
    assert lines(store, payload) == ("one", "twö")
    with closing(store.reader()) as reader:
        assert payloads.left_of(reader, "a") == [payload.reference.digest]
        assert payloads.left_of(reader, "b") == []


def test_a_refused_append_leaves_no_text(store: EventStore) -> None:
    """All or nothing holds for texts, too."""
    payload = Payload("a", b"s" * 32, "boom")
    with pytest.raises(VersionConflict):
        store.append("agent/a", [failure(payload)], expected_version=3, epoch=None)
    append(store, "agent/b", new(note()))
    assert lines(store, payload) == ("[missing]",)


def test_a_retried_append_brings_nothing_back(store: EventStore) -> None:
    """An append is answered from the log when it is tried again; what was erased meanwhile stays erased."""
    payload = Payload("a", b"s" * 32, "boom")
    event = failure(payload)
    append(store, "agent/a", event)
    append(store, "home/h", erasure(payload))
    first = store.append("agent/a", [event], expected_version=0, epoch=None)
    assert [row.position for row in first] == [1]
    shown = lines(store, payload)
    assert len(shown) == 1
    assert shown[0].startswith("[erased by tests at 20")
    assert store.verify().is_intact


def test_a_fingerprint_outlived_its_text(database: Database) -> None:
    """It is that of the line while there is one, then that of cause and exit alone, whenever it is made."""
    store = database.open(inline=[AgentsProjection()])

    def marks() -> dict[str, tuple[str, str]]:
        with closing(store.reader()) as reader:
            rows = reader.rows("SELECT agent_id, fingerprint, error_line FROM report_attempts")
        return {agent: (mark, line) for agent, mark, line in rows}

    said = {agent: Payload(agent, agent.encode() * 32, "boom 7", "boom <n>") for agent in "abc"}
    for agent, payload in said.items():
        append(store, f"agent/{agent}", *map(new, LIVED), failure(payload))
        if agent != "c":
            catch_up(store)
    boom, silent = (tuple(of_line("exit", SEVEN, line)) for line in ("boom <n>", None))
    assert marks() == {"a": boom, "b": boom}
    append(store, "home/h", erasure(said["a"], said["c"]))
    assert check(store) == []  # of rows that have not taken in yet what is gone
    catch_up(store)
    assert marks() == {"a": silent, "b": boom, "c": silent}
    assert check(store) == []
    rebuild(store)
    assert marks() == {"a": silent, "b": boom, "c": silent}


def test_an_error_line_that_somebody_changed_went_unnoticed(database: Database) -> None:
    """It is told from the text, whose digest is in the log: a check finds it, and a rebuild makes it anew.

    Not where the text itself is not what was recorded, of which `verify` tells.
    """
    store = database.open(inline=[AgentsProjection()])
    said = {agent: Payload(agent, agent.encode() * 32, "boom 7", "boom <n>") for agent in "ab"}
    for agent, payload in said.items():
        append(store, f"agent/{agent}", *map(new, LIVED), failure(payload))
    database.edit("UPDATE payloads SET error_line = 'all is well'")
    rebuild(store, ["timeline"])
    catch_up(store)
    assert check(store) == []
    database.edit("UPDATE payloads SET error_line = 'all is well'")
    database.edit("UPDATE payloads SET content = 'x' WHERE agent_id = 'a'")
    found = [one for one in check(store) if one.column == "payloads.error_line"]
    assert [(one.live, one.folded) for one in found] == [("all is well", "boom <n>")]
    rebuild(store)
    assert check(store) == []
    with closing(store.reader()) as reader:
        lines = dict(reader.rows("SELECT agent_id, error_line FROM payloads"))
    assert lines == {"a": "all is well", "b": "boom <n>"}


def test_what_some_versions_said_of_a_text_is_read_and_ignored(store: EventStore) -> None:
    """A hash of the line in the event stays, since the log is not changed; it makes no fingerprint any more."""
    payload = Payload("a", b"s" * 32, "boom", "boom")
    old = failure(payload)
    assert isinstance(old.event, ev.AgentFailed)
    told = replace(old.event, last_output=replace(payload.reference, likeness="ab" * 8))
    append(store, "agent/a", *map(new, LIVED), replace(old, event=told))
    catch_up(store)
    with closing(store.reader()) as reader:
        assert reader.rows("SELECT fingerprint FROM runs") == [(of_line("exit", SEVEN, "boom").id,)]


def test_texts_of_older_releases_are_read_where_they_are(store: EventStore) -> None:
    """FAILED of versions 1 and 2 has its lines inside, and the newest shape still shows them."""
    with closing(store.reader()) as reader:
        assert payloads.lines_of(reader, ["a", "b"]) == ("a", "b")
        assert payloads.lines_of(reader, {"digest": None, "size_bytes": 3, "text": "a\nb"}) == ("a", "b")
        assert payloads.lines_of(reader, None) == payloads.lines_of(reader, []) == ()


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=60), data=st.data())
def test_erased_bytes_are_in_no_file(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """Whatever the texts' sizes and the order of erasing, neither pages nor WAL hold a piece of one; others stay."""
    path = tmp_path_factory.mktemp("erased") / "events.db"
    with EventStore.open(f"sqlite:///{path}", home="h", host="x") as store:
        some = [
            Payload("a", sha256(str(n).encode()).digest(), f"<{n:04}>" * (size // 6 + 1))
            for n, size in enumerate(sizes)
        ]
        for payload in some:
            append(store, "agent/a", failure(payload))
        erased = [payload for payload in some if data.draw(st.booleans())]
        for payload in erased:
            append(store, "home/h", erasure(payload))
        assert store.scrub()
        content = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
        for payload in some:
            is_there = payload.content[:6].encode() in content or payload.salt in content
            assert is_there == (payload not in erased), payload.content[:6]
        assert store.verify().is_intact


@on_sqlite
def test_a_reader_of_the_past_keeps_it(database: Database) -> None:
    """While somebody reads an older state its pages stay, and scrubbing says so; afterwards it is done."""
    store = database.open()
    payload = Payload("a", b"s" * 32, "boom" * 100)
    append(store, "agent/a", failure(payload))
    with closing(sqlite3.connect(database.path, isolation_level=None)) as old:
        old.execute("BEGIN")
        old.execute("SELECT count(*) FROM payloads").fetchall()
        append(store, "home/h", erasure(payload))
        assert not store.scrub()
    assert store.scrub()
    assert not any(b"boom" in file.read_bytes() for file in database.path.parent.iterdir())

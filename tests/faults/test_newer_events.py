"""A log in which a newer release has written: what is unknown is kept, shown and verified, and harms nobody."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from uuid import uuid4

import pytest

from eventstore.appending import Batch, Draft, draft
from eventstore.codec import UnknownEvent
from eventstore.store import EventStore
from manager.home import Home
from tests.faults.run import Run
from tests.support.histories import new, note
from tests.support.processes import runs as is_running
from tests.support.tally import Tally

UNKNOWN = (("AGENT_TELEPORTED", 1), ("HEALTH_CHANGED", 99), ("COORDINATOR_STARTED", 99))


def newer(stream: str, type_name: str, version: int) -> Draft:
    """An event as a newer release might write it."""
    data = json.dumps({"attempt": 1, "unheard_of": ["☃", 1.5]}, sort_keys=True, ensure_ascii=False)
    unknown = UnknownEvent(type=type_name, schema_version=version, data=data)
    known = draft(stream, new(note(), event_id=str(uuid4())))
    return known._replace(type=type_name, schema_version=version, data=data, event=unknown)  # type: ignore[arg-type]


def test_events_of_a_newer_release(tally: Tally) -> None:
    """In the streams of living and ended agents and of the home: every command goes on, and a new coordinator too."""
    with Run.create(seed=23) as run:
        with run.coordinator() as first:
            ids = first.spawn(run.agent(), run.agent("--exit-after", "0.1", "--code", "7"))
            first.ask("wait", agents=ids[1:])
        database = run.home / "events.db"
        with closing(sqlite3.connect(database)) as log:
            versions = dict(log.execute("SELECT stream, max(version) FROM events GROUP BY stream").fetchall())
        url = f"sqlite:///{database}"
        with EventStore.open(
            url, home=Home(run.home).prepare().id, host="x", head=run.home / "head"
        ) as store:
            for stream, version in versions.items():
                drafts = [newer(stream, *one) for one in UNKNOWN]
                store.append_many([Batch(stream=stream, events=drafts, expected_version=version)], epoch=None)
            last = store.head().position
        shown = [json.loads(line) for line in run.outlive("events", "--json").stdout.splitlines()]
        unknown = [(one["type"], one["schema_version"]) for one in shown if "unheard_of" in str(one)]
        assert unknown == list(UNKNOWN) * len(versions)
        commands = (
            ("recover",),
            ("verify",),
            ("rebuild", "--check"),
            ("rebuild",),
            ("ps", "--all"),
            ("events",),
        )
        for words in commands:
            done = run.outlive(*words)
            assert done.returncode == 0, f"{words}: {done.stderr}"
        assert run.outlive("rebuild", "--check").returncode == 0
        assert run.outlive("verify").returncode == 0
        assert last < json.loads(run.outlive("verify", "--json").stdout)["head"]["position"]
        with run.coordinator() as second:
            assert second.ask("stop", agents=ids[:1])["answer"] == "ack"
        assert not any(is_running(int(words[3])) for words in run.told_by_agents())
        assert len(run.told_by_agents()) == 2
        tally("23 events of a newer release", runs=len(commands) * len(unknown))


@pytest.mark.parametrize(
    ("revision", "advice"), [("0000", "outlive db upgrade"), ("9999", "upgrade outlive")]
)
def test_a_database_of_another_release(tally: Tally, revision: str, advice: str) -> None:
    """Whoever reads or changes says what to run, and leaves it and its agents as they are."""
    with Run.create(seed=24) as run:
        with run.coordinator() as first:
            first.spawn(run.agent())
        database = run.home / "events.db"
        with closing(sqlite3.connect(database, isolation_level=None)) as log:
            (right,) = log.execute("SELECT version_num FROM alembic_version").fetchone()
            log.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        commands = (("ps",), ("events",), ("verify",), ("rebuild",), ("recover",), ("run", "--", "true"))
        for words in commands:
            done = run.outlive(*words)
            assert done.returncode != 0, words
            assert advice in done.stderr, f"{words}: {done.stderr}"
        with closing(sqlite3.connect(database, isolation_level=None)) as log:
            log.execute("UPDATE alembic_version SET version_num = ?", (right,))
        assert len(run.told_by_agents()) == 1
        tally("23 command on a database of another release", runs=len(commands))
        run.judge()

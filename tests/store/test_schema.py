"""Making, upgrading and refusing databases."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from eventstore import schema
from eventstore.errors import InvalidRequest, NoDatabase, SchemaMismatch
from eventstore.migrating import migrations_directory
from eventstore.reader import Reader
from eventstore.revision import HEAD
from eventstore.source import schema_version, source_of
from eventstore.tables import metadata
from projections import tables as _tables  # adds its tables to the metadata
from tests.store.conftest import Database, on_sqlite

ROOT = Path(__file__).parent.parent.parent
assert _tables.agents.metadata is metadata


def _definitions(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master"
        " WHERE type IN ('table', 'index') AND sql IS NOT NULL AND tbl_name <> 'alembic_version'"
    ).fetchall()
    connection.close()
    return {name: " ".join(sql.split()) for name, sql in rows}


@on_sqlite
def test_the_migrations_give_the_tables(database: Database, tmp_path: Path) -> None:
    """A database made by the migrations has exactly the tables and indexes that the code believes in."""
    database.open()
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert _definitions(database.path) == _definitions(tmp_path / "direct.db")


def test_head_is_the_newest_migration() -> None:
    """The constant that spares importing alembic is alembic's own answer."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


_CHANGED = (  # after all of them were dropped
    "",
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT 1; END",
    "CREATE TRIGGER agents_stranger AFTER INSERT ON agents BEGIN SELECT 1; END",
)
_CHANGED_IN_POSTGRES = (
    "DROP TRIGGER epochs_no_delete ON epochs",
    "ALTER TABLE events DISABLE TRIGGER USER",
    "CREATE OR REPLACE FUNCTION outlive_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
)


def test_triggers_that_somebody_had_dropped_stayed_away(database: Database) -> None:
    """One that is missing, off, a stranger's or not as it was is a finding, and an upgrade puts all of them back."""
    database.open()
    with closing(Reader.open(database.url)) as reader:
        assert reader.faults() == []
        assert reader.is_guarded()
        for change in _CHANGED if database.is_sqlite else _CHANGED_IN_POSTGRES:
            database.edit(change)
            assert not reader.is_guarded()
            schema.upgrade(database.url)
            assert reader.is_guarded(), change


def test_eight_programs_may_start_at_once(database: Database) -> None:
    """All of them open the same new database; none fails, none makes it twice."""
    program = (
        "import sys; sys.stdin.readline();"
        "from eventstore.store import EventStore;"
        f"s = EventStore.open({database.url!r}, home='h', host='x'); print(s.head().position); s.close()"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in started] == [("0\n", "")] * 8
    assert schema.current(database.url) == HEAD


@on_sqlite
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read(database: Database, umask: int) -> None:
    """The database and the files beside it are 0600 whatever the umask."""
    before = os.umask(umask)
    try:
        store = database.open()
        with store.write():
            pass
    finally:
        os.umask(before)
    files = sorted(database.path.parent.iterdir())
    assert {file.name for file in files} >= {"events.db", "events.db-wal", "events.db-shm", "events.db.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_opening_a_current_database_needs_no_alembic(database: Database) -> None:
    """alembic is only loaded where something has to be made or changed; and it prints nothing then."""
    database.open()
    program = (
        "import sys; from eventstore.store import EventStore;"
        f"EventStore.open({database.url!r}, home='h', host='x').close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_making_a_database_is_silent_and_leaves_logging_alone(database: Database) -> None:
    """Nothing is printed and no logger is configured, even where the program logs everything."""
    program = (
        "import logging; from eventstore.store import EventStore;"
        f"EventStore.open({database.url!r}, home='h', host='x').close();"
        "print(logging.root.handlers, logging.root.level, logging.getLogger('alembic').level)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[] 30 0\n", "")


def _set_revision(database: Database, revision: str) -> None:
    database.open()
    database.edit(f"UPDATE alembic_version SET version_num = '{revision}'")


@pytest.mark.parametrize(
    ("revision", "is_newer", "advice"),
    [
        ("0000", False, "outlive db upgrade"),
        ("9999", True, "upgrade outlive"),
        ("feedc0de", True, "upgrade outlive"),
    ],
)
def test_another_schema_is_refused_with_what_to_do(
    database: Database, revision: str, is_newer: bool, advice: str
) -> None:
    """An older database says how to upgrade it; a newer one that outlive must be upgraded. Readers say the same."""
    _set_revision(database, revision)
    for attempt in (database.open, lambda: Reader.open(database.url)):
        with pytest.raises(SchemaMismatch, match=advice) as caught:
            attempt()
        assert (caught.value.found, caught.value.wanted) == (revision, HEAD)
        assert caught.value.is_newer is is_newer


def test_upgrade_makes_and_keeps(database: Database) -> None:
    """`upgrade` makes a missing database, leaves a current one alone, and refuses a newer one."""
    assert schema.current(database.url) is None
    assert schema.upgrade(database.url) == HEAD
    assert schema.upgrade(database.url) == HEAD
    assert schema.current(database.url) == HEAD
    _set_revision(database, "9999")
    with pytest.raises(SchemaMismatch):
        schema.upgrade(database.url)


@on_sqlite
def test_a_creation_that_was_killed_is_finished(database: Database) -> None:
    """An empty file, as a kill between making it and its tables leaves it, is nothing yet, and is then filled."""
    database.path.touch(mode=0o600)
    with pytest.raises(NoDatabase):
        Reader.open(database.url)
    assert database.open().head().position == 0


def test_a_strangers_database_is_not_touched(database: Database) -> None:
    """A file with an events table of somebody else is refused, not migrated."""
    database.edit("CREATE TABLE events (id integer)")
    with pytest.raises(SchemaMismatch):
        database.open()
    assert database.rows("SELECT * FROM events") == []
    with pytest.raises((sqlite3.OperationalError, psycopg.Error)):
        database.rows("SELECT * FROM agents")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://x/y", "/a/path"])
def test_urls_that_name_no_file_are_refused(url: str) -> None:
    """A log that would live in memory only, or in an unsupported database, is the caller's mistake."""
    with pytest.raises(InvalidRequest):
        schema.upgrade(url)


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    """A path with blanks, %, ?, # and quotes is that very file."""
    path = tmp_path / "a b%20?c#d'\"é.db"
    url = f"sqlite:///{path}"
    assert schema.upgrade(url) == HEAD
    assert path.exists()
    reader = Reader.open(url)
    assert reader.head().position == 0
    reader.close()


def test_a_log_that_another_made_just_then_was_a_strangers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several hosts that begin one log together: between two questions of the one the other's commit came."""
    if database.is_sqlite:
        database.path.touch(mode=0o600)
    with closing(source_of(database.url)) as source:
        has_table = source.has_table

        def has_table_before_it_was_made(name: str) -> bool:
            monkeypatch.undo()
            answer = has_table(name)
            database.open()
            return answer

        monkeypatch.setattr(source, "has_table", has_table_before_it_was_made)
        assert schema_version(source) == HEAD

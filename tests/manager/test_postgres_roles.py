"""Commands as the roles of `outlive db grants`: each works, or says in one line whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventstore import schema
from eventstore.grants import grants
from manager import Manager
from tests.manager.test_postgres import outlive
from tests.support.agents import program
from tests.support.cluster import Cluster, name_of
from tests.support.story import MARK

pytestmark = pytest.mark.postgres
APP, READER = "role_app", "role_reader"
READING = (
    ["ps", "--all"], ["ps", "--all-hosts"], ["status", "web"], ["health", "web"], ["events", "web"], ["logs", "web"],
    ["why", "web"], ["at", "3", "ps"], ["report", "failures"], ["report", "trends"], ["sql", "SELECT 1"], ["verify"],
    ["checkpoint"], ["export"], ["rebuild", "--check"], ["doctor"], ["db", "current"], ["db", "upgrade"],
    ["db", "grants"],
)  # fmt: skip
CHANGING = (
    ["run", "--", "true"], ["signal", "web", "-s", "HUP"], ["restart", "web"], ["recover"], ["erase", "web"],
)  # fmt: skip
OWNING = (["rebuild"], ["rebuild", "timeline"])


@pytest.fixture
def roles(cluster: Cluster, url: str) -> Iterator[str]:
    """A database with nothing in it, and two roles that may do nothing yet."""
    cluster.run(f"CREATE ROLE {APP} LOGIN; CREATE ROLE {READER} LOGIN")
    yield url
    cluster.run(f"DROP OWNED BY {APP}, {READER}", name_of(url))
    cluster.run(f"DROP ROLE {APP}, {READER}")


def granted(url: str) -> None:
    """The owner does what `db grants` prints."""
    with psycopg.connect(url, autocommit=True) as owner:
        for statement in grants("public", application=APP, reader=READER):
            owner.execute(statement.encode())


def refused(home: Path, url: str, words: list[str], said: str) -> None:
    """The command ends with 7 and one line, which holds this."""
    done = outlive(home, url, *words)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (7, 1, ""), (words, done)
    assert said in done.stderr


def test_what_is_the_owners_was_said_to_come_with_grants(home: Path, roles: str) -> None:
    """To make the tables, to give rights, and to rebuild: each is told of whoever may."""
    app = roles.replace("owner@", f"{APP}@")
    refused(
        home, app, ["run", "--", "true"], f"role {APP} may not make the log in schema public: let one who may"
    )
    schema.upgrade(roles)
    for words in (["ps"], ["run", "--", "true"]):
        refused(home, app, words, f"role {APP} may not read the log: let its owner, owner, run what")
    granted(roles)
    with Manager.open(home, app) as manager:
        manager.spawn(program(home, "sleep", "1000"), "web")
        for words in READING:
            done = outlive(home, app, *words)
            assert (done.returncode, done.stderr) == (0, ""), (words, done)
        for words in OWNING:
            refused(home, app, words, f"role {APP} may not, but the owner of the log, owner: name that role")
        with psycopg.connect(roles, autocommit=True) as owner:
            owner.execute(f"REVOKE INSERT ON agents FROM {APP}".encode())
        refused(
            home, app, ["run", "--", "true"], f"role {APP} lacks rights: let the owner of the log, owner, run"
        )
        granted(roles)
        manager.kill_all()


def test_a_reader_was_advised_to_get_rights_that_it_does_not_need(home: Path, roles: str) -> None:
    """It reads all there is, and is told that it may only read."""
    schema.upgrade(roles)
    granted(roles)
    reader = roles.replace("owner@", f"{READER}@")
    started = outlive(home, roles, "run", "--name", "web", "--env", f"{MARK}={home}", "--", "sleep", "1000")
    assert started.returncode == 0
    for words in READING:
        done = outlive(home, reader, *words)
        lacks = "not complete" in done.stderr
        assert (done.returncode, done.stderr.count("\n")) == (0, int(lacks)), (words, done)
        assert lacks == (words[0] in {"report", "sql"})
        assert not lacks or "a coordinator, or a report of whoever may write, takes that in" in done.stderr
    for words in (*CHANGING, *OWNING, ["stop", "web"]):
        refused(home, reader, words, f"role {READER} may only read")
    assert outlive(home, roles, "recover").returncode == 0

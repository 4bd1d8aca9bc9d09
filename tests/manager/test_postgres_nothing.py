"""Databases and schemas in which there is no log: what reading commands say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventstore import schema
from manager import Manager
from tests.manager.test_postgres import outlive
from tests.support.cluster import Cluster

pytestmark = pytest.mark.postgres
READING = (
    ["ps"], ["ps", "--json"], ["events"], ["health"], ["report", "failures"], ["export"], ["status", "x"], ["why", "x"],
    ["sql", "SELECT 1"], ["at", "1h", "ps"], ["verify"], ["checkpoint"], ["rebuild", "--check"],
)  # fmt: skip


@pytest.fixture
def other(url: str) -> str:
    """Another schema of the same database, with nothing in it."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA other")
    return f"{url}&options=-csearch_path%3Dother"


@pytest.fixture
def locked(cluster: Cluster, url: str, other: str) -> Iterator[str]:
    """The same as somebody who may not use it."""
    cluster.run("CREATE ROLE stranger LOGIN")
    yield other.replace("owner@", "stranger@")
    cluster.run("DROP ROLE stranger")


def test_a_table_of_nothing_did_not_say_that_there_is_no_log(home: Path, url: str) -> None:
    """A database that nobody has used is no error; who expected a log is told what to mend."""
    listed = outlive(home, url, "ps")
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 1)
    for words in (["ps"], ["ps", "--json"], ["events"], ["health"], ["report", "failures"]):
        done = outlive(home, url, *words)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done
        assert "there is no log in schema public of the PostgreSQL database" in done.stderr
        assert "mend the database or the search_path in the URL, else `outlive db upgrade`" in done.stderr
    assert json.loads(outlive(home, url, "ps", "--json").stdout)["head"]["position"] == 0
    assert "there is no log in schema public" in outlive(home, url, "doctor").stdout
    schema.upgrade(url)
    assert outlive(home, url, "ps").stderr == ""


def test_a_search_path_without_the_log_was_a_log_of_nothing(home: Path, url: str, other: str) -> None:
    """Where another schema of the database has it, that one was meant."""
    schema.upgrade(url)
    home.mkdir(mode=0o700)
    for words in READING:
        done = outlive(home, other, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1), (words, done)
        assert (
            "there is none in its schema other; name schema public, which has one: ?options=" in done.stderr
        )
    checked = outlive(home, other, "doctor", "--json")
    [database] = [one for one in json.loads(checked.stdout)["checks"] if one["name"] == "database"]
    assert (checked.returncode, database["verdict"]) == (1, "bad")
    schema.upgrade(other)  # whoever wants a second log makes it
    assert outlive(home, other, "ps").returncode == 0


@pytest.mark.parametrize("where", ["none", "locked"])
def test_a_schema_that_cannot_be_used_was_a_log_of_nothing(
    home: Path, url: str, locked: str, where: str
) -> None:
    """There is none of that name, or it is not for this role."""
    home.mkdir(mode=0o700)
    named = locked if where == "locked" else url + "&options=-csearch_path%3Dnone"
    for words in READING:
        done = outlive(home, named, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1), (words, done)
        assert "the role may use no schema of its search_path, or none exists" in done.stderr


def test_a_checkpoint_of_a_log_that_is_gone_was_nothing_recorded_yet(
    home: Path, url: str, other: str
) -> None:
    """The home knows that there was one."""
    with Manager.open(home, url):
        pass
    for words in (["ps"], ["verify"], ["checkpoint"], ["run", "--", "true"]):
        done = outlive(home, other, *words)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1), (words, done)
        assert "put it back, or name the database, and its search_path, that has it" in done.stderr

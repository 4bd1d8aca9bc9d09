"""What a command on PostgreSQL says of what it cannot see, may not do, or cannot reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventstore import schema
from eventstore.errors import InvalidRequest, OutliveError, StoreUnavailable
from eventstore.postgres_errors import place_of
from eventstore.reader import Reader
from manager import Manager
from tests.manager.test_postgres import outlive
from tests.support.agents import program
from tests.support.cluster import Cluster
from tests.support.promises import clean_up

pytestmark = pytest.mark.postgres


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """Another home."""
    yield tmp_path / "other"
    clean_up(tmp_path / "other")


def test_health_of_an_agent_elsewhere_was_unhealthy_and_its_output_was_nothing(
    home: Path, other: Path, url: str
) -> None:
    """Nobody here can look: that is unknown, and where the output is, is said."""
    with Manager.open(home, url):
        pass
    with Manager.open(other, url) as manager:
        agent = manager.spawn(program(other, "sh", "-c", "echo out; sleep 1000"), "web").id
        [check] = json.loads(outlive(home, url, "health", agent, "--json").stdout)["checks"]
        assert (check["health"], check["ok"]) == ("unknown", False)
        assert "its processes are on host" in check["why"]
        for words in (["logs", agent], ["logs", "-f", agent]):
            done = outlive(home, url, *words)
            assert (done.returncode, "its output is on host" in done.stderr) == (2, True), done
        manager.kill_all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/test_", "/nothing_"), "there is no such database"),
        (("owner@", "nobody_knows@"), "there is no such role"),
        (("port=5432", "port=99999"), "mend"),
        (("port=5432", "port=5432&connect_timeout=soon"), "mend"),
        (("port=5432", "port=5432&options=-csearch_path%3Dnone"), "no schema of its search_path exists"),
    ],
)
def test_what_does_not_come_back_was_to_be_tried_again_when_it_is_back(
    url: str, change: tuple[str, str], said: str
) -> None:
    """A fault of the URL, or of the server's set-up, is named with what mends it."""
    with pytest.raises(OutliveError) as caught:
        schema.upgrade(url.replace(*change))
    assert said in str(caught.value)
    assert "when it is back" not in str(caught.value)


def test_a_server_that_takes_no_writes_is_named_as_one(cluster: Cluster, url: str) -> None:
    """As a standby does."""
    schema.upgrade(url)
    database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    cluster.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        Reader.open(f"{url}&target_session_attrs=read-write")


def test_a_url_that_cannot_be_read_was_repeated_with_its_password() -> None:
    """Nothing of it is quoted."""
    for url in (
        "postgresql://me:s3cr/et@h:no/db",
        "postgresql://me:s3cret%zz@h/db",
        "postgresql://[s3cret/db",
    ):
        with pytest.raises(InvalidRequest) as caught:
            place_of(url)
        assert "s3cr" not in str(caught.value)


def test_texts_that_a_role_could_not_remove_were_called_erased(home: Path, url: str) -> None:
    """VACUUM skips what the role may not with a warning; the command says who may remove them."""
    with Manager.open(home, url) as manager:
        manager.spawn(
            program(home, "sh", "-c", "echo confidential >&2; exit 3", start_window_seconds=0.0), "fails"
        )
        manager.wait("fails")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
    try:
        done = outlive(home, url.replace("owner@", "app@"), "erase", "fails", "--json")
        told = json.loads(done.stdout)
        assert (told["texts"], told["is_scrubbed"], told["scrub_as"]) == (1, False, "owner")
        assert "VACUUM (FULL) payloads, runs" in done.stderr
        assert done.returncode != 0
        told = json.loads(outlive(home, url, "erase", "fails", "--json").stdout)
        assert (told["is_scrubbed"], told["scrub_as"]) == (True, None)
    finally:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("DROP OWNED BY app; DROP ROLE app")


def test_verify_as_a_reader_without_a_home_was_refused_without_advice(
    home: Path, other: Path, url: str
) -> None:
    """An empty directory will do."""
    with Manager.open(home, url):
        pass
    assert "makes an empty one" in outlive(other, url, "verify").stderr
    other.mkdir(mode=0o700)
    done = outlive(other, url, "verify")
    assert (done.returncode, done.stdout.startswith("intact")) == (0, True), done


def test_a_coordinator_that_leaves_counts_the_agents_of_its_own_home(
    home: Path, other: Path, url: str
) -> None:
    """Those of another home on the same log are not left by it."""
    with Manager.open(other, url) as manager:
        for _ in range(2):
            manager.spawn(program(other, "sleep", "1000"))
    with Manager.open(home, url) as manager:
        manager.spawn(program(home, "sleep", "1000"))
    with closing(Reader.open(url)) as reader:
        stopped = [
            json.loads(event.data)["agents_left"] for event in reader.events(types=("COORDINATOR_STOPPED",))
        ]
    assert stopped == [2, 1]


def test_postgres_as_a_scheme_is_told_the_right_one() -> None:
    """libpq knows both."""
    with pytest.raises(InvalidRequest, match="write postgresql://"):
        Reader.open("postgres://me:s3cret@h/db")

"""Servers that let nobody in, and say why in a language that nobody here knows: what is advised goes by their codes."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from eventstore import postgres_refusal, schema
from eventstore.errors import OutliveError, StoreUnavailable
from eventstore.postgres_refusal import Refusal, advice_for, refusal
from eventstore.reader import Reader
from tests.support.cluster import Cluster, running_cluster, running_standby

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def german() -> Iterator[Cluster]:
    """A server that speaks German, and has roles that it does not let in."""
    with running_cluster(language="de") as cluster:
        cluster.run(
            "CREATE ROLE secret LOGIN PASSWORD 's3cret'; CREATE ROLE out LOGIN; CREATE ROLE late LOGIN"
        )
        cluster.run("CREATE DATABASE closed")
        cluster.run("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        cluster.let_in("local all secret scram-sha-256\nlocal all out reject\nlocal all late peer")
        try:
            psycopg.connect(cluster.url("none")).close()
        except psycopg.OperationalError as error:
            if "existiert nicht" not in str(error):
                pytest.skip("needs the German messages of the PostgreSQL server")
        yield cluster


@pytest.mark.parametrize(
    ("change", "advised"),
    [
        (("", ""), None),
        (("/postgres", "/none"), "there is no such database"),
        (("owner@", "nobody_knows@"), "there is no such role"),
        (("owner@", "late@"), "the server does not take you for it"),
        (("owner@", "secret:wrong@"), "the password is wrong"),
        (("owner@", "secret@"), "it wants a password"),
        (("owner@", "out@"), "mend its pg_hba.conf"),
        (("owner@/postgres", "out@/none"), "mend its pg_hba.conf"),
        (("owner@/postgres", "secret:s3cret@/closed"), "may not connect to this database"),
        (("port=5432", "port=5432&options=-cnothing%3D1"), "does not take what the URL sets"),
    ],
)
def test_another_language_made_every_refusal_one_that_passes(
    german: Cluster, change: tuple[str, str], advised: str | None
) -> None:
    """For the reader and for the writer; what the server said is quoted, but no password."""
    url = german.url("postgres").replace(*change)
    if advised is None:
        schema.upgrade(url)
        Reader.open(url).close()
        return
    for attempt in (schema.upgrade, Reader.open):
        with pytest.raises(OutliveError) as caught:
            attempt(url)
        assert advised in str(caught.value)
        assert "when it is back" not in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_german_standby_was_to_be_tried_again_when_it_is_back(german: Cluster) -> None:
    """It is found by what it reports of itself."""
    with running_standby(german) as standby:
        found = refusal(standby.url("postgres"))
        assert found == Refusal(None, wants_password=False, is_read_only=True)
        with pytest.raises(StoreUnavailable, match="it is a standby, or read-only, and takes no writes"):
            Reader.open(f"{standby.url('postgres')}&target_session_attrs=read-write")


def test_who_cannot_be_reached_refuses_nothing() -> None:
    """There is no code, and no password was asked for."""
    found = refusal("postgresql://me@/db?host=/nowhere")
    assert found == Refusal(None, wants_password=False, is_read_only=False)
    assert advice_for(found, "Verbindung zum Server auf Socket fehlgeschlagen") is None


def test_a_server_that_goes_on_refusing_is_asked_once(
    german: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator tries again each second, for days: what libpq keeps of each trace would grow."""
    asked: list[str] = []

    def counted(server: str) -> Refusal | None:
        asked.append(server)
        return refusal(server)

    monkeypatch.setattr(postgres_refusal, "refusal", counted)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="there is no such database"):
            Reader.open(german.url("never_made"))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("code", "words", "advised"),
    [
        ("28000", "FATAL: no hay una línea en pg_hba.conf para «h»", "mend its pg_hba.conf"),
        ("28000", "FATAL: el rol «x» no existe", "there is no such role"),
        ("28P01", "FATAL: la autentificación password falló", "the password is wrong"),
        ("53300", "FATAL: lo siento, ya tenemos demasiados clientes", "raise its max_connections"),
        ("57P03", "FATAL: el sistema de base de datos está iniciándose", "try again when it is up"),
        ("XX000", "FATAL: algo", None),
    ],
)
def test_what_is_advised_for_a_code(code: str, words: str, advised: str | None) -> None:
    """The words are asked for the name of a file alone, which no language translates."""
    found = advice_for(Refusal(code, wants_password=False, is_read_only=False), words)
    assert (found is None) if advised is None else (advised in (found or ""))

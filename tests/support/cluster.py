"""A PostgreSQL server of the tests' own: not root, no network, in a directory that goes with it."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

LIBRARY = Path("/usr/lib/postgresql")  # Debian keeps the programs there, outside PATH
PORT = 5432  # a name in a directory of its own: the server listens on no network
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # tests kill servers, not kernels
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "1h",
    "log_min_messages": "warning",
}
DURABLE = {"fsync": "on", "full_page_writes": "on"}
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 60.0
_names = count(1)


class Cluster:
    """One server and its files. `restart` and `kill` are for tests of what happens then."""

    def __init__(
        self, directory: Path, *, is_durable: bool = False, address: str = "", language: str = ""
    ) -> None:
        self.directory = directory
        self._language = language
        self._settings = {**SETTINGS, **(DURABLE if is_durable else {}), "listen_addresses": address}
        if language:
            self._settings["lc_messages"] = "C.UTF-8"  # in "C" itself there is but one language
        self._data = directory / "data"
        self._user = pwd.getpwnam("nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
        self._server: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make its files: a second or two."""
        if os.geteuid() == 0:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        arguments = ["-D", str(self._data), "-U", "owner", "-E", "UTF8", "--locale=C", "-A", "trust"]
        self._run("initdb", *arguments, "--no-sync", "--no-instructions")
        if self._settings["listen_addresses"]:
            with (self._data / "pg_hba.conf").open("a", encoding="ascii") as rules:
                rules.write("host all all samenet trust\n")

    def follow(self, primary: Cluster) -> None:
        """Make its files from those of a running server, whose standby it is once it is started."""
        if os.geteuid() == 0:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        source = f"host={primary.directory} port={PORT} user=owner"
        self._run("pg_basebackup", "-D", str(self._data), "-d", source, "-R", "-c", "fast", "--no-sync")

    def promote(self) -> None:
        """Let a standby be a server of its own, and wait until it takes writes."""
        self.run("SELECT pg_promote(true, 60)")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [_program("postgres"), "-D", str(self._data), "-k", str(self.directory), "-p", str(PORT), *options],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory,
                preexec_fn=_die_with_parent, **self._identity(),  # noqa: PLW1509 (there is one thread)
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self, *, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGTERM waits for clients, SIGINT ends them, SIGQUIT leaves the rest to recovery."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(_START_SECONDS)
            self._server = None

    def kill(self) -> None:
        """SIGKILL every process of it, as a host that loses its power does; `start` recovers."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)  # so that it starts no other while they die
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._server.pid)], capture_output=True, text=True, check=False
        )
        for pid in map(int, found.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.kill()
        self._server.wait(_START_SECONDS)
        self._server = None
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def let_in(self, rules: str) -> None:
        """Lines of pg_hba.conf that go before those that let everybody in."""
        path = self._data / "pg_hba.conf"
        path.write_text(f"{rules}\n{path.read_text()}")
        self.run("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{os.getpid()}_{next(_names)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        self.run(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")

    def dump(self, url: str) -> str:
        """The URL of what is restored from a backup of it, made now, whoever uses it."""
        file, restored = self.directory / "dump", self.new_database()
        self._run("pg_dump", "--format=custom", f"--file={file}", f"--dbname={url}")
        self._run("pg_restore", "--exit-on-error", f"--dbname={restored}", str(file))
        return restored

    def copy(self, url: str) -> str:
        """The URL of a copy of its files; nobody may use it."""
        copied = self.url(f"test_{os.getpid()}_{next(_names)}")
        self.run(f"CREATE DATABASE {name_of(copied)} TEMPLATE {name_of(url)} STRATEGY file_copy")
        return copied

    def exchange(self, url: str, other: str) -> None:
        """Let two databases change their names; connections to the first are ended."""
        one, two = name_of(url), name_of(other)
        self.run(f"ALTER DATABASE {one} ALLOW_CONNECTIONS false")
        self.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{one}'")
        for old, new in ((one, "between"), (two, one), ("between", two)):
            self.run(f"ALTER DATABASE {old} RENAME TO {new}")
        self.run(f"ALTER DATABASE {two} ALLOW_CONNECTIONS true")

    def run(self, sql: str, database: str = "postgres") -> None:
        """A statement as the owner."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.encode())

    def url(self, database: str, *, user: str = "owner") -> str:
        """Where a database of it is."""
        return f"postgresql://{user}@/{database}?host={self.directory}&port={PORT}"

    def url_at(self, address: str, url: str) -> str:
        """The same over the network that it listens on."""
        return url.replace(f"host={self.directory}", f"host={address}")

    def remove(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments],
            check=True, capture_output=True, cwd=self.directory, timeout=_START_SECONDS, **self._identity(),
        )  # fmt: skip

    def _identity(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LANGUAGE": self._language} if self._language else {}
        if os.geteuid() != 0:
            return {"env": environment}
        return {
            "env": environment,
            "user": self._user.pw_uid,
            "group": self._user.pw_gid,
            "extra_groups": (),
        }


@contextmanager
def running_cluster(*, is_durable: bool = False, address: str = "", language: str = "") -> Iterator[Cluster]:
    """A new server, removed afterwards. `is_durable`: what is committed is on disk. `address`: to listen on, too.

    `language`: of its messages, where it has them in that; else they are English.
    """
    cluster = Cluster(_new_directory(), is_durable=is_durable, address=address, language=language)
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@contextmanager
def running_standby(primary: Cluster, *, address: str = "") -> Iterator[Cluster]:
    """A new hot standby of a running server, which streams to it without waiting for it; removed afterwards."""
    standby = Cluster(_new_directory(), address=address)
    try:
        standby.follow(primary)
        standby.start()
        yield standby
    finally:
        standby.remove()


def _new_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket's path has 107 bytes


def name_of(url: str) -> str:
    """The name of the database that is meant."""
    return url.partition("@/")[2].partition("?")[0]


def _program(name: str) -> str:
    found = sorted(LIBRARY.glob(f"*/bin/{name}"))
    return str(found[-1]) if found else name


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

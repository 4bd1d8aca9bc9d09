"""Programs that people really run: started, stopped, and nothing of them left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager import AgentStatus, Manager
from manager.process.attempt_dir import read_record
from manager.process.tree import descendant_pids
from tests.support.agents import data, program, python, shell
from tests.support.processes import eventually, runs
from tests.support.promises import clean_up, living

REDIS = shutil.which("redis-server")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose agents are ended afterwards."""
    path = tmp_path / "home"
    yield path
    clean_up(path)


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    """Its coordinator."""
    with Manager.open(home) as opened:
        yield opened


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answer(port: int, question: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(question)
            return connection.recv(4096)
    except OSError:
        return b""


def _tree(home: Path, agent: AgentStatus) -> list[int]:
    """Everything below an agent's shim: servers overwrite their own environment, where other tests look."""
    identity = read_record(str(home / agent.directory / "identity.json"))
    assert isinstance(identity, dict)
    return list(descendant_pids(identity["shim_pid"]))


@pytest.mark.skipif(REDIS is None, reason="needs redis-server (Debian: redis-server)")
def test_redis(home: Path, tmp_path: Path) -> None:
    """Redis goes on serving while its coordinator is gone, keeps its data at a stop, and leaves with code 0."""
    assert REDIS is not None
    port = _free_port()
    spec = program(
        home, REDIS, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), cwd=tmp_path
    )
    with Manager.open(home) as manager:
        manager.spawn(spec, "redis")
        eventually(lambda: _answer(port, b"PING\r\n") == b"+PONG\r\n", "redis answers")
        assert _answer(port, b"SET answer 42\r\n") == b"+OK\r\n"
    assert _answer(port, b"GET answer\r\n") == b"$2\r\n42\r\n"
    with Manager.open(home) as manager:
        assert manager.health("redis").is_ok
        status = manager.stop("redis")
        assert (status.state, status.exit and status.exit.code) == ("CANCELLED", 0)
        assert list(living(home)) == []
        assert (tmp_path / "dump.rdb").exists()  # SIGTERM, not SIGKILL: it had the time to save
        manager.restart("redis")
        eventually(lambda: _answer(port, b"GET answer\r\n") == b"$2\r\n42\r\n", "redis has its data again")
        assert manager.kill("redis").state == "KILLED"
    assert list(living(home)) == []


@pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")
def test_nginx_as_a_daemon(manager: Manager, home: Path, tmp_path: Path) -> None:
    """nginx puts itself into the background; with until=tree it is one agent, healthy, and ends with its workers."""
    assert NGINX is not None
    port = _free_port()
    config = tmp_path / "nginx.conf"
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon on; worker_processes 2; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;"
        f"events {{}} http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; return 200 hello; }} }}"
    )
    spec = program(home, NGINX, "-c", str(config), "-p", str(tmp_path), until="tree")
    assert manager.spawn(spec, "web").state == "RUNNING"
    eventually(lambda: b"hello" in _answer(port, b"GET / HTTP/1.0\r\n\r\n"), "nginx answers")
    assert manager.health("web").is_ok
    tree = _tree(home, manager.status("web"))
    assert len(tree) >= 3
    status = manager.stop("web")
    assert status.state == "CANCELLED"
    assert not any(map(runs, tree))
    assert _answer(port, b"GET / HTTP/1.0\r\n\r\n") == b""
    assert data(manager, "web", "ZOMBIE_REAPED")[0]["is_tree_complete"]


@pytest.mark.root
@pytest.mark.skipif(POSTGRES is None, reason="needs the PostgreSQL server programs (Debian: postgresql)")
def test_postgres_as_another_user(manager: Manager, home: Path, tmp_path: Path) -> None:
    """PostgreSQL refuses to run as root: it runs as its own user, and its workers end with it."""
    assert POSTGRES is not None
    for place in (tmp_path, *tmp_path.parents):
        if place.is_relative_to("/tmp") and place != Path("/tmp"):
            place.chmod(place.stat().st_mode | 0o011)
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    shutil.chown(cluster, "postgres", "postgres")
    init = program(
        home, str(POSTGRES.parent / "initdb"), "-D", str(cluster), "-A", "trust", user="postgres", cwd="/"
    )
    assert manager.wait(manager.spawn(init, "initdb"), timeout=90).state == "COMPLETED"
    port = _free_port()
    spec = program(
        home,
        *(str(POSTGRES), "-D", str(cluster), "-p", str(port), "-c", "listen_addresses=127.0.0.1"),
        *("-c", "unix_socket_directories="),
        user="postgres",
        cwd="/",
    )
    agent = manager.spawn(spec, "database")
    ready = [str(POSTGRES.parent / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    eventually(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "it accepts")
    assert agent.pid is not None
    assert os.stat(f"/proc/{agent.pid}").st_uid != 0
    tree = _tree(home, agent)
    assert len(tree) > 3
    status = manager.stop("database", grace=(30.0, 5.0, 5.0))
    assert (status.state, status.exit and status.exit.code) == ("CANCELLED", 0)
    assert not any(map(runs, tree))


def test_a_shell_pipeline(manager: Manager, home: Path) -> None:
    """All parts of a pipeline end with it, and its output is there."""
    agent = manager.spawn(
        shell(home, "yes | head -c 1000000 | tr y x | wc -c; yes | cat > /dev/null"), "pipe"
    )
    path = home / agent.directory / "stdout.log"
    eventually(lambda: path.read_text().strip() == "1000000", "the first pipeline has counted")
    eventually(lambda: len(list(living(home))) >= 3, "the second pipeline runs")
    assert manager.stop("pipe").state in ("CANCELLED", "KILLED")
    assert list(living(home)) == []


def test_python_multiprocessing(manager: Manager, home: Path) -> None:
    """A pool's workers, its resource tracker and its fork server are gone with it."""
    script = (
        "import multiprocessing as m, time\n"
        "if __name__ == '__main__':\n"
        "    m.set_start_method('forkserver')\n"
        "    with m.Pool(3) as pool:\n"
        "        print(pool.map(abs, [-1, -2]), flush=True)\n"
        "        time.sleep(1000)\n"
    )
    path = home.with_name("pool.py")
    path.write_text(script)
    agent = manager.spawn(program(home, sys.executable, str(path)), "pool")
    eventually(lambda: "[1, 2]" in (home / agent.directory / "stdout.log").read_text(), "the pool has worked")
    assert len(list(living(home))) >= 5
    manager.stop("pool")
    assert list(living(home)) == []


def test_a_program_that_floods(manager: Manager, home: Path) -> None:
    """One that writes as fast as it can does not delay what is recorded of others, nor its own end."""
    manager.spawn(shell(home, "yes | head -c 50000000; exec sleep 1000"), "flood")
    other = manager.spawn(python(home, "import time; time.sleep(0.3); raise SystemExit(7)"), "other")
    status = manager.wait(other, timeout=30)
    assert status.exit is not None
    assert status.exit.code == 7
    assert manager.kill("flood").is_final
    assert list(living(home)) == []

"""`doctor`: whether the home, the database and the system are as outlive needs them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from eventstore import trust
from eventstore.errors import NoDatabase, OutliveError, SchemaMismatch
from manager.cli import exit_codes
from manager.cli.holder import is_held
from manager.cli.render import Column, show_table
from manager.cli.session import Session, current, shared_options, write_json
from manager.evidence import known_head, unknown_attempts
from projections.checkpoints import FOLLOWING_VERSIONS, behind, checkpoints
from projections.quantities import counted, size_text

if TYPE_CHECKING:
    from eventstore.reader import Reader
    from manager.home import Home

WAL_RESET_FIXED_IN = (3, 51, 3)  # a checkpoint that meets a writer could corrupt a WAL database before it
LOW_SPACE_BYTES = 1024**3
NO_SPACE_BYTES = 64 * 1024**2
SHOWN_LEFTOVERS = 5


class Check(NamedTuple):
    """One thing that was looked at. `warning` is told and does not make the command fail."""

    name: str
    verdict: Literal["ok", "warning", "bad"]
    detail: str


@click.command("doctor")
@shared_options
def doctor_command() -> int:
    """Check the home, the database and what the system offers; exit 1 where something is bad. Changes nothing."""
    session = current()
    checks = list(examine(session))
    is_ok = all(check.verdict != "bad" for check in checks)
    if session.json:
        write_json(
            {"schema": "outlive.doctor/1", "ok": is_ok, "checks": [check._asdict() for check in checks]}
        )
    else:
        show_table(session, (Column("CHECK"), Column("VERDICT"), Column("NOTE", is_prose=True)), checks)
    return exit_codes.DONE if is_ok else exit_codes.FAILED


def examine(session: Session) -> Iterator[Check]:
    """All checks, one after the other."""
    from manager.home import Home

    home = Home(session.home)
    yield from _home(home)
    yield from _system()
    if session.database.startswith("sqlite:"):
        yield _sqlite()
    if os.path.isdir(home.path):
        yield _space(home)
    try:
        from eventstore.reader import Reader

        reader = Reader.open(session.database)
    except NoDatabase as error:
        yield _no_database(home, error)
    except SchemaMismatch as error:
        yield Check("schema", "bad", str(error))
    except OutliveError as error:
        yield Check("database", "bad", str(error))
    else:
        yield from _database(reader, home, session)
        reader.close()


def _home(home: Home) -> Iterator[Check]:
    from manager.errors import HomeError

    try:
        os.lstat(home.path)
    except FileNotFoundError:
        yield Check("home", "ok", f"{home.path} does not exist yet; the first agent makes it")
        return
    except OSError:
        pass  # the next look says why
    try:
        home.check()
    except HomeError as error:
        yield Check("home", "bad", str(error))
        return
    yield Check("home", "ok", f"{home.path}: ours, mode 0700")
    open_files = [
        name
        for name in sorted(os.listdir(home.path))
        if os.lstat(home.path / name).st_mode & 0o077 and not os.path.islink(home.path / name)
    ]
    if open_files:
        detail = f"open to others: {', '.join(open_files)}; run: chmod go= {home.path}/*"
        yield Check("files", "warning", detail)
    yield Check("coordinator", "ok", _holder(home))


def _holder(home: Home) -> str:
    if not is_held(home.path):
        return "none holds the home now; commands that change something act as one"
    holder = home.holder() or {}
    return f"process {holder.get('pid')} ({holder.get('argv')}) holds the home since {holder.get('since')}"


def _system() -> Iterator[Check]:
    from manager.process.features import features

    lost = {
        "pidfd": "identities are compared by creation time",
        "pidfs": "the shim's lock vouches for identities",
        "pidfd_info": "exit codes are unknown once a shim is lost",
        "subreaper": "trees are never known to be complete",
        "proc_children": "children are found by reading every process",
        "cgroup": "membership goes by ancestry alone",
    }
    found = features()
    for name, value in found._asdict().items():
        without = f"not there: {lost.get(name, 'less is known of processes')}"
        yield Check(f"kernel {name}", "ok" if value else "warning", str(value) if value else without)


def _sqlite() -> Check:
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED_IN:
        fixed = ".".join(map(str, WAL_RESET_FIXED_IN))
        detail = (
            f"{sqlite3.sqlite_version}: before {fixed} a checkpoint that met a writer could, rarely, corrupt it; "
            "use a Python with a newer SQLite, and `outlive verify` after a crash"
        )
        return Check("sqlite", "warning", detail)
    return Check("sqlite", "ok", sqlite3.sqlite_version)


def _space(home: Home) -> Check:
    free = shutil.disk_usage(home.path).free
    verdict: Literal["ok", "warning", "bad"] = (
        "bad" if free < NO_SPACE_BYTES else "warning" if free < LOW_SPACE_BYTES else "ok"
    )
    return Check("disk", verdict, f"{size_text(free)} free")


def _database(reader: Reader, home: Home, session: Session) -> Iterator[Check]:
    from eventstore.revision import HEAD, UNGUARDED, replaced

    yield Check("schema", "ok", f"{HEAD}, as this release needs it")
    if session.database_url is None:
        mode = str(reader.rows("PRAGMA journal_mode")[0][0])
        detail = (
            f"journal mode {mode}"
            if mode == "wal"
            else f"journal mode {mode}, not wal: commands may block each other"
        )
        yield Check("database", "ok" if mode == "wal" else "warning", detail)
    elif session.database.startswith("postgresql:"):
        [(version, fsync, is_standby, is_ahead)] = reader.rows(
            "SELECT current_setting('server_version'), current_setting('fsync'), pg_is_in_recovery(),"
            " current_setting('synchronous_standby_names') = '' AND EXISTS (SELECT FROM pg_stat_replication)"
        )
        parts = [f"PostgreSQL {version}"]
        if fsync == "off":
            parts.append("fsync = off: a power loss may cost events that were acknowledged")
        if is_ahead and not is_standby:
            parts.append(
                "its standbys may be behind (no synchronous_standby_names): a failover may cost acknowledged events"
            )
        if is_standby:
            parts.append(
                "a standby, which takes no writes: to change anything name the server that does, or promote it"
            )
        yield Check("database", "ok" if len(parts) == 1 else "warning", "; ".join(parts))
    head, base = reader.head(), reader.base().position
    gone = f" after {base} that were pruned" if base else ""
    detail = f"{counted(head.position - base, 'event')}{gone}, head {head.hash.hex()[:16]}…"
    yield Check("log", "ok", f"{detail}; not read here: `outlive verify` checks them all")
    if not reader.is_guarded():
        advice = "run `outlive verify` to see whether it was, then `outlive db upgrade` to put them back"
        yield Check("triggers", "bad", f"{UNGUARDED}; {advice}")
    if views := reader.replaced_views():
        yield Check("views", "bad", replaced(views))
    yield _projections(reader, head.position)
    yield _head_outside(reader, home)
    leftovers = unknown_attempts(home, reader)
    if leftovers:
        shown = ", ".join(leftovers[:SHOWN_LEFTOVERS]) + (" …" if len(leftovers) > SHOWN_LEFTOVERS else "")
        pruned = " or knew before it was pruned" if base else ""
        directories = counted(len(leftovers), "directory", "directories")
        detail = f"{directories} that the log does not know{pruned}: {shown}; look before removing"
        yield Check("attempts", "warning", detail)


def _projections(reader: Reader, head: int) -> Check:
    """Rows of agents are never behind the log; those that follow it are brought up to it by the next report."""
    kept = checkpoints(reader)
    wrong = [
        f"{name} at {position}"
        for name, (_, position) in kept.items()
        if position > head or (position < head and name not in FOLLOWING_VERSIONS)
    ]
    if wrong:
        return Check(
            "projections", "warning", f"{', '.join(wrong)}, the log at {head}; run `outlive rebuild`"
        )
    late = behind(reader)
    detail = f"{counted(late, 'event')} behind the log; the next report or coordinator takes them in"
    return Check("projections", "ok", detail if late else "up to the log")


def _no_database(home: Home, missing: NoDatabase) -> Check:
    try:
        known = known_head(home)
    except OutliveError as error:
        return Check("database", "bad", str(error))
    if known is not None and known.position:
        return Check("database", "bad", str(trust.gone(known, home.database)))
    if missing.is_misnamed:
        return Check("database", "bad", str(missing))
    return Check("database", "ok", missing.notice or f"none yet; the first agent makes {home.database}")


def _head_outside(reader: Reader, home: Home) -> Check:
    try:
        known = known_head(home)
    except OutliveError as error:
        return Check("head", "bad", str(error))
    if known is None:
        return Check("head", "ok", f"none outside the log yet; the next coordinator makes {home.head}")
    verdict = reader.compare(known)
    if lag := trust.lag(reader, verdict):
        return Check("head", "warning", f"{home.head}: position {known.position}, but {lag}")
    if not verdict.is_intact:
        return Check(
            "head", "bad", f"from position {verdict.position} on the log is not all there: {verdict.detail}"
        )
    return Check("head", "ok", f"{home.head}: position {known.position}, which the log holds")

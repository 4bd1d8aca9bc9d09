"""Whatever an attempt's directory holds, a recovery gets through it, and believes only what a shim may have written."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore.store import EventStore
from eventstore.values import ExitedBySignal, ExitedWithCode
from manager import commands as do
from manager import launching
from manager.ledger import Ledger
from manager.observe import look
from manager.process import procfs
from manager.process.attempt_dir import Damaged, decode, encode, name_of, read_as
from manager.process.frames import encode_request
from manager.recovery import conclude
from tests.fuzz.hostile import distorted, true_records, values
from tests.support.histories import PROCESS, SPEC
from tests.support.tally import Tally

HOME = "6f1f0b1e-0000-4000-8000-000000000001"
TRUE = true_records(procfs.boot_id(), procfs.pid_namespace())
# The scratch home is shared by the examples on purpose: each has an agent of its own in it.
ours = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_numbers = itertools.count()


@st.composite
def directories(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """The bodies in an attempt's directory: some files missing, the others true or not."""
    present = draw(st.lists(st.sampled_from(sorted(TRUE)), unique=True))
    return {name: draw(distorted(TRUE[name])) for name in present}


def placed(name: str, body: dict[str, Any], path: Path) -> dict[str, Any]:
    """A record's body as of the attempt in directory `path`, where it says what attempt it is of."""
    key, value = ("attempt_dir", str(path)) if name == "spec" else ("attempt", name_of(str(path)))
    return {**body, key: value} if key in body else body


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Over a real log, which refuses what it cannot hold."""
    with EventStore.open(f"sqlite:///{tmp_path / 'events.db'}", home=HOME, host="here") as store:
        clock = itertools.count(1_700_000_000_000_000, 1_000_000)
        yield Ledger(store, epoch=0, clock=lambda: next(clock))


def _recover(ledger: Ledger, home: Path, believed: str, files: dict[str, dict[str, Any]]) -> list[do.Command]:
    """One agent in the believed state, whose attempt's directory holds `files`: the commands that follow."""
    agent_id = f"{next(_numbers):016x}"
    ledger.stage(
        agent_id,
        do.Spawn(
            name=agent_id,
            spec=SPEC,
            spec_digest="ab" * 32,
            directory=f"agents/{agent_id}/1",
            boot_id=procfs.boot_id(),
        ),
    )
    path = home / "agents" / agent_id / "1"
    path.mkdir(parents=True)
    for name, body in files.items():
        (path / f"{name}.json").write_bytes(encode(placed(name, body, path)))
    if believed == "running":
        ledger.stage(agent_id, do.ConfirmStarted(process=PROCESS))
        ledger.stage(agent_id, do.PassStartWindow())
    seen = look(home, ledger.states[agent_id], now=1_700_000_000_000_000, is_recovery=True)
    for handle in (seen.main, seen.shim):
        assert handle is None, "no process has these identities"
    commands = conclude(ledger.states[agent_id], seen.observed, unwatched_seconds=1.0).commands
    for command in commands:
        ledger.stage(agent_id, command)
    ledger.commit()
    shutil.rmtree(path.parent)
    return list(commands)


@ours
@given(believed=st.sampled_from(["starting", "running"]), files=directories())
def test_a_recovery_survives_every_well_formed_record(
    ledger: Ledger, tmp_path: Path, tally: Tally, believed: str, files: dict[str, dict[str, Any]]
) -> None:
    """Records with intact checksums that lack fields, or hold impossible ones, are like damaged ones: unknown.

    What follows can be recorded, and an exit that is believed is one that a process can have.
    """
    tally("fuzz attempt directories")
    for command in _recover(ledger, tmp_path, believed, files):
        if isinstance(command, do.ConfirmStarted):
            assert command.process.pid > 1
            assert command.process.shim_pid > 1
        if isinstance(command, do.ObserveExit):
            match command.exit:
                case ExitedWithCode(code=code):
                    assert code in range(256)
                case ExitedBySignal(signal=signum):
                    assert signum in range(1, 65)


def test_the_records_of_shims_are_believed(tmp_path: Path) -> None:
    """Every record that a shim writes today passes the checks that keep the others out."""
    for name, bodies in TRUE.items():
        for body in bodies:
            told = placed(name, body, tmp_path)
            (tmp_path / f"{name}.json").write_bytes(encode(told))
            assert read_as(name, str(tmp_path)) == told


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("identity", {"pid": 1}),
        ("identity", {"pid": 10**30}),
        ("identity", {"shim_pid": -7}),
        ("identity", {"cgroup": "/sys/fs/cgroup/system.slice"}),  # not the attempt's own
        ("identity", {"boot_id": None}),
        ("exec", {"confirmed_at": -1}),
        ("exec", {"phase": "exec", "errno": 2, "message": None}),  # failed, and does not say why
        ("exec", {"phase": "exec", "errno": None, "message": "no such file"}),
        ("exit", {"kind": "failed_start", "code": None, "phase": "exec", "errno": 2, "message": None}),
        ("exit", {"code": 256}),
        ("exit", {"code": True}),
        ("exit", {"code": None}),  # kind says that there is one
        ("exit", {"phase": "exec"}),  # ended with a code, and never executed
        ("exit", {"record": "main"}),  # another file's
        ("exit", {"ended_at": 10**18}),  # no calendar has that year
        ("exit", {"message": "\ud800"}),  # no log can hold it
        ("sweep", {"left": [{}]}),
        ("spec", {"token": "a/b"}),
        ("spec", {"user": {"uid": "root"}}),
    ],
)
def test_impossible_records_are_damaged(tmp_path: Path, name: str, change: dict[str, Any]) -> None:
    """A record that no shim can have written is not believed in part: all of it is unknown."""
    told = placed(name, TRUE[name][0], tmp_path)
    (tmp_path / f"{name}.json").write_bytes(encode({**told, **change}))
    assert isinstance(read_as(name, str(tmp_path)), Damaged)


@ours
@given(distorted(TRUE["spec"]))
def test_a_restart_survives_every_spec_file(tmp_path: Path, tally: Tally, body: dict[str, Any]) -> None:
    """`spec.json` of an attempt either starts another one like it or is refused by name; nothing else happens."""
    tally("fuzz spec files")
    (tmp_path / "spec.json").write_bytes(encode(placed("spec", body, tmp_path)))
    try:
        request = launching.again(tmp_path)
    except launching.SpecLost:
        return
    complete = launching.for_attempt(request, tmp_path, "agents/x/2", agent_id="x", name="x")
    assert encode_request(complete)


@given(st.binary(max_size=200) | values.map(lambda value: repr(value).encode("utf-8", "replace")))
def test_any_bytes_are_a_record_or_a_value_error(line: bytes) -> None:
    """Reading a record's line has two answers, whatever the bytes."""
    try:
        decode(line)
    except ValueError:
        return

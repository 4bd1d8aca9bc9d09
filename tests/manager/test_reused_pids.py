"""A number that has gone to another process is not ours any more, even if that one began in the same clock tick."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.values import ProcessRecord
from manager.attachment import Attachment
from manager.process import features as features_module
from manager.process.features import detect
from manager.process.identity import identify


@pytest.fixture(params=["pidfs", "pidfs,pidfd_info", "pidfd,pidfs,pidfd_info"])
def features_off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel on which a pid and a start time are all there is."""
    monkeypatch.setattr(features_module, "_found", detect(frozenset(request.param.split(","))))


@pytest.fixture
def canary() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with us."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.usefixtures("features_off")
@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_reused_number_was_the_first_process_of_a_tree_while_its_shim_lived(
    tmp_path: Path, canary: subprocess.Popen[bytes], is_reaped: bool
) -> None:
    """With until=tree a shim goes on after it has reaped the first process: that it lives vouches for that no more."""
    believed, shim = identify(canary.pid), identify(os.getpid())
    assert believed is not None
    assert shim is not None
    record = ProcessRecord(
        **believed._asdict(),
        shim_pid=shim.pid,
        shim_start_ticks=shim.start_ticks,
        shim_pidfd_inode=shim.pidfd_inode,
        cgroup=None,
    )
    if is_reaped:
        (tmp_path / "main.json").touch()
    loop = asyncio.new_event_loop()
    with (tmp_path / "lock").open("w") as lock:  # as the shim holds it
        fcntl.flock(lock, fcntl.LOCK_EX)
        attachment = Attachment(loop, str(tmp_path))
        assert attachment.hold_main(record)
        held = attachment.main is not None
        attachment.close()
        found = [process.pid for process in attachment.members()]
    loop.close()
    assert held is not is_reaped
    assert (canary.pid in found) is not is_reaped


def test_a_handle_from_before_was_taken_for_proof_without_pidfds(
    tmp_path: Path, canary: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shim is lost, and its number has gone to another in the same clock tick: it gets no signal."""
    monkeypatch.setattr(features_module, "_found", detect(frozenset(("pidfd", "pidfs", "pidfd_info"))))
    believed = identify(canary.pid)
    assert believed is not None
    gone = ProcessRecord(
        **believed._asdict(), shim_pid=1 << 30, shim_start_ticks=1, shim_pidfd_inode=None, cgroup=None
    )
    loop = asyncio.new_event_loop()
    attachment = Attachment(loop, str(tmp_path))
    with (tmp_path / "lock").open("w") as lock:  # the shim lives, and what it has is proved
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert attachment.hold_main(gone)
    assert attachment.main is not None
    found = [process.pid for process in attachment.members()]
    attachment.close()
    loop.close()
    assert found == []

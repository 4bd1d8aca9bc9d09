"""What a single refused system call once led to: a lock kept for ever, an exit lost, a wait without end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import pytest

from eventstore.errors import StoreUnavailable
from eventstore.writelock import WriteLock
from manager import Manager, vitals
from manager.errors import SystemRefused
from manager.process.attempt_dir import Damaged, Missing, encode, read_record
from manager.process.features import detect
from tests.faults.syscalls import ERRORS, Injection
from tests.faults.test_syscalls import count, sweep
from tests.faults.tracing import Tracer
from tests.support.tally import Tally

pytestmark = [pytest.mark.strace, pytest.mark.root]
T = TypeVar("T")


def refused(place: Path, call: str, error: str, act: Callable[[], T], number: int = 1) -> T:
    """What `act` gives or raises in a thread whose `number`-th call fails."""
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_native_id).result()
        with Tracer([thread], place / "trace", Injection(call, number, error)) as tracer:
            try:
                return pool.submit(act).result()
            finally:
                tracer.detach()
                assert tracer.was_hit


@pytest.mark.parametrize("number", [3, 4])
def test_a_lock_that_could_not_be_unlocked_stopped_all_writers(tmp_path: Path, number: int) -> None:
    """Whether it is the place in the queue or the lock: the next writer gets it, in this process and in another."""
    lock = WriteLock(tmp_path / "log", wait_seconds=1.0)

    def write() -> None:
        with lock:
            pass

    with pytest.raises(StoreUnavailable) if number == 3 else nullcontext():
        refused(tmp_path, "flock", "ENOLCK", write, number)
    other = WriteLock(tmp_path / "log", wait_seconds=1.0)
    for one in (other, lock, other):
        with one:
            pass
        one.close()


def test_a_record_that_the_disk_failed_to_give_once_was_taken_for_damaged(tmp_path: Path) -> None:
    """It is read again; what is not there is still not there."""
    path = tmp_path / "exit.json"
    path.write_bytes(encode({"code": 7}))
    record = refused(tmp_path, "read", "EIO", lambda: read_record(str(path)))
    assert not isinstance(record, Damaged | Missing)
    assert record["code"] == 7


def test_the_kernel_was_taken_for_an_old_one_when_descriptors_ran_out(tmp_path: Path) -> None:
    """What cannot be tried now is not called missing for the life of the process."""
    with pytest.raises(OSError, match="Too many open files"):
        refused(tmp_path, "pidfd_open", "EMFILE", lambda: detect(frozenset()))
    assert detect(frozenset()).pidfd


def test_processes_counted_as_gone_when_descriptors_ran_out(tmp_path: Path) -> None:
    """Then nothing is said of them."""
    with pytest.raises(vitals.CannotLook, match="ulimit -n"):
        refused(tmp_path, "openat", "EMFILE", lambda: vitals.tree(vitals.Target(1, None)), 2)


def test_a_home_without_a_descriptor_for_it_was_refused_with_a_traceback(tmp_path: Path) -> None:
    """It is refused with what to do; and opens when there is one."""
    with pytest.raises(SystemRefused, match="ulimit -n"):
        refused(tmp_path, "epoll_create1", "EMFILE", lambda: Manager.open(tmp_path / "home"))
    Manager.open(tmp_path / "home").close()


def test_a_module_that_the_disk_failed_to_give_was_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that only a new home needs: it is refused with what to do, and made when there is one."""
    with monkeypatch.context() as gone:
        gone.setitem(sys.modules, "alembic", None)
        with pytest.raises(SystemRefused, match=r"a module cannot be loaded .*alembic"):
            Manager.open(tmp_path / "home")
    Manager.open(tmp_path / "home").close()


@pytest.mark.parametrize(
    ("scenario", "call"),
    [("start, coordinator", "epoll_ctl"), ("start, coordinator", "recvmsg"), ("start, caller", "sendto")],
)
def test_a_wait_had_no_end_when_the_loop_could_not_be_told(
    tmp_path: Path, tally: Tally, scenario: str, call: str
) -> None:
    """A start whose events cannot be watched for, received or announced for want of memory ends all the same."""
    number = count(scenario)[call]
    refusals = [Injection(call, which + 1, "ENOMEM") for which in range(number)]
    assert refusals
    assert "ENOMEM" in ERRORS[call]
    tally(f"14 error at every {call} of a start", runs=sweep(scenario, refusals, tmp_path))

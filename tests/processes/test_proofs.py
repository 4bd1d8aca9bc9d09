"""What proves a process, and what only seems to: no descriptor for it, an ancestry of the dead, no pidfds at all."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from manager.process import identity
from manager.process.features import detect
from manager.process.identity import (
    Match,
    identify,
    open_pidfd,
    prove,
    prove_descendant,
    prove_self,
    prove_token,
)
from manager.process.signalling import send_signal


@contextmanager
def _sleeper(**variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, **variables}) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_process_without_a_descriptor_to_be_had_for_it_is_not_gone() -> None:
    """EMFILE says nothing about the process: taken for its absence, a living agent would be recorded as ended."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_pidfd(os.getpid())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("ended", ["root", "descendant"])
def test_an_ancestry_of_ended_processes_proves_nothing(ended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was above whom is true only while both live: the number of one that has ended may be anybody's."""
    with _sleeper() as root, _sleeper() as below:
        its = identify(root.pid)
        assert its is not None
        proved = prove(its, shim_holds_lock=True).process
        assert proved is not None
        monkeypatch.setattr(identity, "_steady_ancestry", lambda pid, above: [(pid, 1)])
        found = prove_descendant(proved, below.pid)
        assert found is not None
        found.close()
        gone = root if ended == "root" else below
        gone.kill()
        os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
        assert prove_descendant(proved, below.pid) is None
        proved.close()


def test_processes_are_proved_without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By psutil's handle, where the kernel has no other; without it a tree could not be ended."""
    monkeypatch.setattr(identity, "features", lambda: detect(frozenset({"pidfd"})))
    with _sleeper(OUTLIVE_TOKEN="its") as child:
        own = prove_self()
        for found in (prove_descendant(own, child.pid), prove_token("its", child.pid)):
            assert found is not None
            send_signal(found, signal.SIGKILL)
            found.close()
        assert child.wait() == -signal.SIGKILL
        own.close()


def test_a_process_that_ends_before_its_handle_is_had_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pidfds psutil looks at it once more; what it does not find any more is another process or none."""
    its = identify(os.getpid())
    assert its is not None
    monkeypatch.setattr(identity, "features", lambda: detect(frozenset({"pidfd"})))
    monkeypatch.setattr(identity, "_psutil_process", lambda pid, start_ticks: None)
    proof = prove(its, shim_holds_lock=True)
    assert (proof.match, proof.process) == (Match.DIFFERENT, None)

"""A hundred agents at once: started, found again, stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from manager import Manager
from tests.support import story
from tests.support.agents import program
from tests.support.processes import eventually
from tests.support.promises import living, log_is_whole, our_environment

_START = """
import os, sys
from pathlib import Path
from manager import Manager
from tests.support.agents import program
home = Path(sys.argv[1])
manager = Manager.open(home)
manager.spawn_many([(f"a{n}", program(home, "sleep", "1000")) for n in range(100)])
os.kill(os.getpid(), 9)
"""


def test_a_hundred_agents_survive_their_coordinator(home: Path) -> None:
    """After a kill -9 all hundred are found again in moments, none is started again, and one stop ends them all."""
    command = [sys.executable, "-c", _START, str(home)]
    done = subprocess.run(command, env=our_environment(), cwd=story.ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    before = {pid for pid, _ in living(home)}
    assert len(before) == 100
    begun = time.monotonic()
    with Manager.open(home) as manager:
        opened = time.monotonic() - begun
        assert manager.recovery is not None
        assert manager.recovery.reattached == 100
        assert opened < 10, f"re-attaching took {opened:.1f} s"  # under one second on an idle machine
        assert {status.pid for status in manager.statuses()} == before
        assert {status.state for status in manager.stop_all(reason="enough")} == {"CANCELLED"}
        assert list(living(home)) == []
        log_is_whole(manager)
    descriptors = len(os.listdir("/proc/self/fd"))
    with Manager.open(home):
        pass
    assert len(os.listdir("/proc/self/fd")) <= descriptors, "descriptors are left open"


def test_opening_again_and_again_leaks_nothing(home: Path) -> None:
    """Starting, ending and closing leave no descriptor, no thread and no process of ours behind."""

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def once() -> tuple[int, int]:
        with Manager.open(home) as manager:
            for agent in manager.spawn_many([(None, program(home, "true")) for _ in range(5)]):
                manager.wait(agent)
        return count()

    once()
    first, *_, last = [once() for _ in range(5)]
    assert last[0] <= first[0]
    eventually(lambda: count()[1] <= first[1], "the threads end")

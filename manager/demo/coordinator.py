"""The demo's first coordinator, a process of its own: what a user's program looks like."""

from __future__ import annotations

import sys
from pathlib import Path

from manager.demo.agents import COMPLETES, Stage
from manager.manager import Manager

COMPLETES_SECONDS = 60.0
READY = "ready"


def main(folder: str) -> None:
    """Start the ten agents, print `name pid` for each and then `ready`; go on until stdin ends or somebody kills us."""
    stage = Stage(Path(folder))
    with Manager.open(stage.home, stage.url, actor="first coordinator") as manager:
        for name, spec in stage.agents():
            status = manager.ensure(name, spec)
            sys.stdout.write(f"{name} {status.pid}\n")
            sys.stdout.flush()
        manager.wait(COMPLETES, timeout=COMPLETES_SECONDS)
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        sys.stdin.read()  # its end is the end of the demo, in disorder: in order we are killed
        manager.close(stop_agents=True)

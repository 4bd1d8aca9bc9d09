"""`python -m manager.demo`: play it in a temporary folder and end every process of it, whatever happens."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from eventstore.errors import OutliveError
from manager.demo.agents import Stage
from manager.demo.play import Play, PlayStopped
from manager.demo.screen import Screen
from manager.manager import Manager

INTERRUPTED = 130  # 128 + SIGINT, as a shell has it
LOOK_AROUND = ("ps --all", "events", "events stubborn", "logs importer --stderr", "verify", "rebuild --check")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every claim holds, 1 if one does not or the play cannot go on, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m manager.demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave the folder, to look around in with `outlive`"
    )
    keep = parser.parse_args(arguments).keep
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    screen = Screen()
    try:
        with _stage(keep=keep) as stage:
            screen.say(f"outlive, on real processes, in {stage.folder}")
            claims, facts = Play(stage, screen).perform()
            if keep:
                screen.gap()
                screen.say(f"Look around in the home, and remove {stage.folder} when done:")
                for words in LOOK_AROUND:
                    screen.say(f"  {_outlive()} --home {shlex.quote(str(stage.home))} {words}")
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; all of its processes were ended\n")
        return INTERRUPTED
    except (OutliveError, OSError, PlayStopped) as error:
        sys.stderr.write(f"\ncannot go on: {error}\n")
        return 1
    is_kept = all(claim.is_kept for claim in claims)
    screen.last_line(facts.line(), is_kept=is_kept)
    return 0 if is_kept else 1


@contextlib.contextmanager
def _stage(*, keep: bool) -> Iterator[Stage]:
    """A folder; afterwards its agents are ended and it is gone, also when the play was stopped half way."""
    stage = Stage(Path(tempfile.mkdtemp(prefix="outlive-demo-")))
    is_over = False
    try:
        yield stage
        is_over = True
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them
        if not is_over or stage.alive():
            _end_all(stage)
        if not (is_over and keep):
            shutil.rmtree(stage.folder)


def _end_all(stage: Stage) -> None:
    if stage.home.exists():
        with Manager.open(stage.home, stage.url, actor="demo", announce=False) as manager:
            manager.kill_all(reason="the demo has ended")


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _outlive() -> str:
    beside = Path(sys.executable).with_name("outlive")
    return shlex.quote(str(beside)) if os.access(beside, os.X_OK) else f"{sys.executable} -m manager.cli.main"


if __name__ == "__main__":
    sys.exit(main())

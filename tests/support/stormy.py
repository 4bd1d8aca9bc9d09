"""A coordinator that does something all the time, for a storm of kills: `python -m tests.support.stormy HOME SEED`."""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path

from eventstore.errors import InvalidRequest, NameInUse
from manager import AgentSpec, Manager, StartFailed
from tests.support.story import MARK, SAY, ledger_of

QUICK_CODE, SLOW_SECONDS = 7, 1000


def spec(home: Path, kind: str) -> AgentSpec:
    """`quick` ends with 7 after a moment, `slow` waits to be stopped, `stubborn` has to be killed, `again` restarts."""
    text = {
        "quick": f"sleep 0.3; exit {QUICK_CODE}",
        "slow": f"trap 'exit 0' TERM; sleep {SLOW_SECONDS} & wait",
        "stubborn": f"trap '' TERM; setsid sleep {SLOW_SECONDS} & exec sleep {SLOW_SECONDS}",
        "again": f"sleep 0.2; exit {QUICK_CODE}",
    }[kind]
    content = {
        "command": ["sh", "-c", SAY + text],
        "env": {"LEDGER": str(ledger_of(home)), MARK: str(home)},
        "cwd": "/",
        "stop_grace_seconds": (0.2, 0.1, 20.0),
        "restart": {"mode": "on-failure", "max_restarts": 2, "backoff_seconds": 0.1}
        if kind == "again"
        else {},
    }
    return AgentSpec.model_validate(content)


def act(manager: Manager, home: Path, chance: random.Random) -> None:
    """One thing that a person might do."""
    living = manager.statuses()
    kind = chance.choice(["quick", "slow", "stubborn", "again"])
    what = chance.choice(["start", "start many", "stop", "kill", "restart", "signal", "recover"])
    if what == "start many" and len(living) < 20:
        manager.spawn_many([(None, spec(home, kind)) for _ in range(4)], wait=chance.random() < 0.5)
    elif what == "start" and len(living) < 20:
        manager.spawn(spec(home, kind), f"{kind}-{chance.randrange(10**9)}", wait=chance.random() < 0.5)
    elif what == "stop" and living:
        manager.stop_many(chance.sample(living, min(3, len(living))), wait=chance.random() < 0.5)
    elif what == "kill" and living:
        manager.kill(chance.choice(living), wait=chance.random() < 0.5)
    elif what == "restart" and living:
        manager.restart(chance.choice(living), wait=False)
    elif what == "signal" and living:
        manager.signal(chance.choice(living), 18)  # SIGCONT: harmless
    elif what == "recover":
        manager.recover()


def main(home: Path, seed: int) -> None:
    """Go on until killed."""
    chance = random.Random(seed)
    with Manager.open(home, actor=f"storm {seed}") as manager:
        while True:
            with contextlib.suppress(StartFailed, InvalidRequest, NameInUse):
                act(manager, home, chance)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""What a storm does, all of it drawn from a seed: the agents, the orders, when and whom it kills. No input or output.

What is drawn is a share of whatever is there (the agent at 0.37 of the list of those that live), so that a seed gives
the same decisions again; how far each process had come by then is the machine's affair.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Blow = Literal[
    "coordinator",
    "recovery",  # the next coordinator, while it opens the home
    "launcher",
    "shim",
    "agent",
    "descendant",
    "command",
    "coordinator and shim",
    "coordinator and launcher",
    "coordinator and agent",
    "shim and agent",
    "all of ours",  # one after the other
    "all of ours at once",
]
BLOWS: dict[Blow, int] = {
    "coordinator": 24,
    "recovery": 14,
    "launcher": 8,
    "shim": 12,
    "agent": 10,
    "descendant": 4,
    "command": 8,
    "coordinator and shim": 5,
    "coordinator and launcher": 4,
    "coordinator and agent": 4,
    "shim and agent": 2,
    "all of ours": 3,
    "all of ours at once": 4,
}
ASKS = {
    "spawn": 34,
    "stop": 14,
    "kill": 8,
    "restart": 8,
    "signal": 6,
    "ensure": 6,
    "recover": 4,
    "health": 4,
    "wait": 4,
}
COMMANDS = {
    "run": 5,
    "stop": 3,
    "kill": 2,
    "restart": 2,
    "signal": 1,
    "recover": 2,
    "wait": 1,
    "ps": 1,
    "verify": 1,
}
AT_ONCE = 0.4  # of the blows; the others are struck when something was done since the one before
PAUSE = 2.0  # at the most, most are short; like all pauses it counts the time in which a coordinator opens the home

_T = TypeVar("_T")


@dataclass(frozen=True)
class Order:
    """One order to a coordinator, or one command. `pick` chooses among living agents, `kinds` what is started."""

    ask: str
    pick: float
    count: int
    waits: bool
    kinds: tuple[tuple[str, float], ...]

    def choose(self, items: Sequence[_T]) -> list[_T]:
        """`count` of these, beginning at `pick`; fewer where there are fewer."""
        begin = int(self.pick * len(items))
        return [items[(begin + number) % len(items)] for number in range(min(self.count, len(items)))]


@dataclass(frozen=True)
class Step:
    """Orders, commands beside them, a pause, and a blow. `opens`: whether a coordinator is there for it.

    `waits`: for a start or an exit, before the pause. Pauses are multiples of the time that an opening takes.
    """

    orders: tuple[Order, ...]
    commands: tuple[Order, ...]
    opens: bool
    waits: bool
    pause: float
    blow: Blow
    pick: float
    recovery_pause: float
    order_of_death: int
    keeps_snapshot: bool


def steps(seed: int) -> Iterator[Step]:
    """Without end."""
    chance = random.Random(f"storm {seed}")
    while True:
        yield _step(chance)


def _step(chance: random.Random) -> Step:
    blow: Blow = _weighted(chance, BLOWS)
    has_commands = blow == "command" or chance.random() < 0.12
    return Step(
        orders=tuple(_order(chance, ASKS) for _ in range(chance.randint(1, 3))),
        commands=tuple(_order(chance, COMMANDS) for _ in range(chance.randint(1, 2))) if has_commands else (),
        opens=not (has_commands and chance.random() < 0.5),
        waits=chance.random() >= AT_ONCE,
        pause=PAUSE * chance.random() ** 3,
        blow=blow,
        pick=chance.random(),
        recovery_pause=chance.random(),
        order_of_death=chance.randrange(1 << 30),
        keeps_snapshot=chance.random() < 0.1,
    )


def _order(chance: random.Random, asks: dict[str, int]) -> Order:
    count = chance.choice((1, 1, 1, 2, 4))
    kinds = tuple((chance.choice(tuple(BEHAVIOURS)), chance.random()) for _ in range(count))
    return Order(_weighted(chance, asks), chance.random(), count, chance.random() < 0.4, kinds)


def _weighted(chance: random.Random, weights: dict[_T, int]) -> _T:
    return chance.choices(tuple(weights), tuple(weights.values()))[0]


# --- agents -----------------------------------------------------------------------------------------------------------

# Of each kind: the behaviour as agent.py takes it, with SECONDS for a moment, and what its spec has beside it.
Behaviour = tuple[tuple[str, ...], dict[str, Any]]
AGAIN = {"mode": "on-failure", "max_restarts": 2, "backoff_seconds": 0.1}
BEHAVIOURS: dict[str, Behaviour] = {
    "ends": (("--exit-after", "SECONDS"), {}),
    "ends with 7": (("--exit-after", "SECONDS", "--code", "7"), {}),
    "ends in its start window": (("--exit-after", "0", "--code", "3"), {"start_window_seconds": 0.5}),
    "dies by SIGSEGV": (("--exit-after", "SECONDS", "--die", "SEGV"), {}),
    "dies by SIGUSR1": (("--exit-after", "SECONDS", "--die", "USR1"), {}),
    "runs": (("--beat",), {}),
    "runs and ends with 5 when stopped": (("--term-code", "5"), {}),
    "ignores SIGTERM": (("--ignore", "TERM"), {}),
    "ignores SIGTERM, with children": (("--ignore", "TERM", "--fork", "2"), {}),
    "leaves children": (("--fork", "2", "--exit-after", "SECONDS", "--code", "4"), {}),
    "leaves a daemon": (("--daemonise", "--exit-after", "SECONDS"), {}),
    "daemonises": (
        ("--daemonise", "--daemon-seconds", "SECONDS", "--exit-after", "0.1", "--code", "5"),
        {"until": "tree"},
    ),
    "writes much": (("--flood", "300000", "--exit-after", "SECONDS", "--code", "2"), {}),
    "erases its environment": (("--erase-environment", "--exit-after", "SECONDS", "--code", "6"), {}),
    "erases its environment and forks": (("--erase-environment", "--fork", "1"), {"cgroup": True}),
    "lives in a cgroup": (("--fork", "1", "--exit-after", "SECONDS"), {"cgroup": True}),
    "is restarted": (("--exit-after", "SECONDS", "--code", "7"), {"restart": AGAIN}),
    "is restarted, and is slow to die": (
        ("--ignore", "TERM", "--exit-after", "SECONDS", "--die", "ABRT"),
        {"restart": AGAIN},
    ),
    "cannot be executed": (("/nonexistent/program",), {}),
}
LONGEST_SECONDS = 1.2


def behaviour(kind: str, share: float) -> Behaviour:
    """The arguments and the spec of one agent; `share` chooses its moment, most of them short."""
    arguments, spec = BEHAVIOURS[kind]
    seconds = f"{LONGEST_SECONDS * share**2:.3f}"
    return tuple(seconds if part == "SECONDS" else part for part in arguments), spec

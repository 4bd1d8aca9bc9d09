"""What the harness asks for, noted before it asks, so that nobody can have been asked who says so.

    RUN/asks.jsonl   {id, at: boottime ns, ask, by, names, agents, signal, grace}

`names` are those of agents to start (null: any), `agents` whom the order is about, by id or name; null: all of them.
`grace`: of a stop, where it is not the spec's; null: the spec's, empty: not noted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manager import AgentRef, Manager
    from tests.faults.run import Run

Told = dict[str, Any]
STARTS = ("spawn", "ensure")
ABOUT_AGENTS = ("stop", "kill", "restart", "signal")


def of_order(ask: str, order: Told) -> Told | None:
    """What an order to a driven coordinator asks for; None where it changes no agent."""
    if ask in STARTS:
        return {"ask": ask, "names": [item["name"] for item in order["items"]]}
    if ask in ABOUT_AGENTS:
        number = order.get("signal") if ask == "signal" else None
        return {"ask": ask, "agents": order["agents"], "signal": number, "grace": order.get("grace")}
    return None


def of_command(arguments: Sequence[str]) -> Told | None:
    """What a command line of `outlive` asks for; None where it changes no agent."""
    ask, *rest = arguments
    if ask == "run":
        options = rest[: rest.index("--")] if "--" in rest else rest
        return {"ask": "spawn", "names": [_after(options, "--name")]}
    if ask not in ABOUT_AGENTS:
        return None
    named = _after(rest, "-s")
    words = [word.removeprefix("SIG") for word in rest]
    numbers = [signal.Signals[f"SIG{word}"] for word in words if f"SIG{word}" in signal.Signals.__members__]
    return {
        "ask": ask,
        "agents": None if "--all" in rest else [word for word in rest if not word.startswith("-")],
        "signal": int(numbers[0]) if numbers else None if named is None else int(named),
        "grace": [] if "--grace" in rest else None,
    }


def _after(words: Sequence[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words else None


class Asking:
    """A `Manager` of the harness's own process: what changes agents is noted, then done."""

    def __init__(self, run: Run, manager: Manager, by: str) -> None:
        self._run = run
        self._manager = manager
        self._by = by

    def __getattr__(self, name: str) -> Any:
        done = getattr(self._manager, name)
        return self._noted(name, done) if name in _NOTES else done

    def _noted(self, name: str, done: Callable[..., Any]) -> Callable[..., Any]:
        def do(*words: Any, **options: Any) -> Any:
            self._run.asked(by=self._by, **_NOTES[name](words, options))
            return done(*words, **options)

        return do


def _id(agent: AgentRef) -> str:
    return agent if isinstance(agent, str) else agent.id


def _spawn(words: tuple[Any, ...], options: Told) -> Told:
    return {"ask": "spawn", "names": [words[1] if len(words) > 1 else options.get("name")]}


def _about(ask: str, *, all_of_them: bool = False) -> Callable[[tuple[Any, ...], Told], Told]:
    def note(words: tuple[Any, ...], options: Told) -> Told:
        agents = None if all_of_them else [_id(words[0])]
        number = int(words[1] if len(words) > 1 else options["signal"]) if ask == "signal" else None
        return {"ask": ask, "agents": agents, "signal": number, "grace": options.get("grace")}

    return note


def _many(words: tuple[Any, ...], options: Told) -> Told:
    ask = "kill" if options.get("forced") else "stop"
    return {"ask": ask, "agents": [_id(agent) for agent in words[0]], "grace": options.get("grace")}


_NOTES: dict[str, Callable[[tuple[Any, ...], Told], Told]] = {
    "spawn": _spawn,
    "spawn_many": lambda words, _: {"ask": "spawn", "names": [name for name, _spec in words[0]]},
    "ensure": lambda words, _: {"ask": "ensure", "names": [words[0]]},
    "stop": _about("stop"),
    "kill": _about("kill"),
    "stop_many": _many,
    "stop_all": _about("stop", all_of_them=True),
    "kill_all": _about("kill", all_of_them=True),
    "restart": _about("restart"),
    "signal": _about("signal"),
}

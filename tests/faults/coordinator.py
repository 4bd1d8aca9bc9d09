"""A coordinator in a process of its own that does what it is told: `python -m tests.faults.coordinator HOME`.

Orders are JSON lines on standard input, `{"id", "ask", …}`; each gets one line on standard output once it is done:
`{"id", "answer": "ack" | "error", "agents": [id, …], "position", "error"}`. `position` is the head of the log then. At
the end of its input it closes the home in good order. `--bug=NAME` gives it that bug of `tests.faults.seeded.broken`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from eventstore.crashpoints import arm
from eventstore.errors import OutliveError
from manager import AgentSpec, Manager
from manager.status import AgentStatus
from tests.faults import gates


def main(home: str, *options: str) -> None:
    """Open the home, say so, obey. `--gates=DIR`: stop at gates in DIR, see `tests/faults/gates.py`."""
    for option in options:
        if option.startswith("--bug="):
            importlib.import_module("tests.faults.seeded.unasked")
            importlib.import_module("tests.faults.seeded.broken").BUGS[option[6:]].plant()
        elif option.startswith("--gates="):
            gates.install_in_coordinator(option.removeprefix("--gates="))
    try:
        with gates.gate("opening"):
            opened = Manager.open(home, actor="fault harness", takeover="--takeover" in options)
    except OutliveError as refusal:
        told = f"{type(refusal).__name__}: {refusal}"
        _say({"id": 0, "answer": "error", "agents": [], "position": None, "error": told})
        return
    with opened as manager:
        _say({"id": 0, "answer": "ack", "agents": [], "position": _head(manager), "error": None})
        for line in sys.stdin:
            order = json.loads(line)
            try:
                with gates.gate("obeying"):
                    agents, error = [status.id for status in obey(manager, order)], None
            except OutliveError as refusal:
                agents, error = [], f"{type(refusal).__name__}: {refusal}"
            answer = "ack" if error is None else "error"
            _say(
                {
                    "id": order["id"],
                    "answer": answer,
                    "agents": agents,
                    "position": _head(manager),
                    "error": error,
                }
            )


def obey(manager: Manager, order: dict[str, Any]) -> list[AgentStatus]:
    """Carry out one order; the agents that it was about."""
    ask, wait, agents = order["ask"], order.get("wait", True), order.get("agents", [])
    if ask == "spawn":
        items = [(one["name"], AgentSpec.model_validate(one["spec"])) for one in order["items"]]
        return manager.spawn_many(items, wait=wait)
    if ask == "ensure":
        return [manager.ensure(one["name"], AgentSpec.model_validate(one["spec"])) for one in order["items"]]
    if ask == "arm":  # for itself, and for the launcher that it starts next
        os.environ["OUTLIVE_CRASH"] = order["crashes"]
        arm(order["crashes"], order.get("stops", ""))
        return []
    if ask in ("stop", "kill"):
        grace = None if order.get("grace") is None else tuple(order["grace"])
        return manager.stop_many(agents, grace=grace, forced=ask == "kill", wait=wait)
    if ask == "restart":
        return [manager.restart(agent, wait=wait) for agent in agents]
    if ask == "signal":
        return [manager.signal(agent, order["signal"]) for agent in agents]
    if ask == "wait":
        return manager.wait_many(agents, timeout=order.get("timeout"))
    if ask == "health":
        return [manager.status(manager.health(agent).id) for agent in agents]
    if ask == "recover":
        manager.recover()
        return []
    raise ValueError(f"cannot obey {ask!r}: there is no such order")


def _head(manager: Manager) -> int | None:
    try:
        return manager._coordinator.store.head().position
    except OutliveError:  # the log is gone or cannot be read
        return None


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

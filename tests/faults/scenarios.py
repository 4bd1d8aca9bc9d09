"""What our processes do while faults are injected into one role: start, stop, exit, recovery, opening a new home.

Each scenario takes a stage and injections, and plays itself out. Those in `SIDE_BY_SIDE` take any number, each for an
agent of its own, the others take one. `None` counts the role's calls. AssertionError: a hang, or a start refused once
the fault has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.stage import LOOP, Stage, acknowledged, threads_of
from tests.faults.syscalls import Injection
from tests.support.processes import eventually, runs

Given = Sequence[Injection | None]
Scenario = Callable[[Stage, Given], None]

QUICK = ("--exit-after", "0")
ENDER = ("--term-code", "7")  # SIGTERM ends it with 7
STUBBORN = ("--ignore", "TERM", "--fork", "1")
GRACE = (0.1, 0.1, 20.0)


# --- start ------------------------------------------------------------------------------------------------------------


def start_in_coordinator(stage: Stage, given: Given) -> None:
    """A fresh coordinator starts its launcher and an agent."""
    _order_in_coordinator(stage, given, "spawn", items=[stage.item()])


def start_in_caller(stage: Stage, given: Given) -> None:
    """The thread that asked for the start."""
    _order_in_caller(stage, given, "spawn", items=[stage.item()])


def start_in_launcher(stage: Stage, given: Given) -> None:
    """A launcher from its first own instruction to its first shim."""
    driven = stage.coordinator()
    stage.arm("launcher")
    number = driven.send("spawn", items=[stage.item()])
    with stage.faulty_at_gate("launcher", given, "launcher"):
        answer = stage.answer(driven, number)
        assert answer is not None, "the coordinator ended with its launcher"
    stage.start_another(driven)
    driven.close()


def start_in_shims(stage: Stage, given: Given) -> None:
    """Shims from their fork on; each starts an agent that soon ends."""
    _start_at_gate(stage, given, "shim")


def start_in_children(stage: Stage, given: Given) -> None:
    """Agents' processes between fork and exec."""
    _start_at_gate(stage, given, "child")


def _start_at_gate(stage: Stage, given: Given, role: str) -> None:
    driven = stage.coordinator()
    stage.spawn(driven, QUICK)  # so that there is a launcher
    stage.arm(role)
    number = driven.send("spawn", items=[stage.item("--exit-after", "0.3") for _ in given])
    with stage.faulty_at_gate(role, given, role):
        agents = acknowledged(stage.answer(driven, number))["agents"]
        acknowledged(stage.ask(driven, "wait", agents=agents, timeout=30))
    stage.start_another(driven)
    driven.close()


# --- stop -------------------------------------------------------------------------------------------------------------


def stop_in_coordinator(stage: Stage, given: Given) -> None:
    """The three stages for an agent that ignores SIGTERM and has a child."""
    _order_in_coordinator(stage, given, "stop", STUBBORN, grace=GRACE)


def stop_in_caller(stage: Stage, given: Given) -> None:
    """The thread that asked for the stop."""
    _order_in_caller(stage, given, "stop", STUBBORN, grace=GRACE)


def stop_in_shims(stage: Stage, given: Given) -> None:
    """Shims of agents that are stopped in three stages."""
    driven = stage.coordinator()
    agents = stage.spawn(driven, *[STUBBORN for _ in given])
    with stage.faulty_shims(agents, given):
        acknowledged(stage.ask(driven, "stop", agents=agents, grace=GRACE))
    stage.start_another(driven)
    driven.close()


# --- exit -------------------------------------------------------------------------------------------------------------


def exit_in_coordinator(stage: Stage, given: Given) -> None:
    """An agent ends by itself; its shim records it, then the coordinator."""
    (injection,) = given
    driven = stage.coordinator()
    (agent,) = stage.spawn(driven, ENDER)
    with stage.faulty([threads_of(driven.pid)[LOOP]], injection, "coordinator", driven.pid):
        stage.end(agent)
        stage.ask(driven, "wait", agents=[agent])
    stage.leave(driven, injection)


def exit_in_launcher(stage: Stage, given: Given) -> None:
    """A launcher collects a shim that has left."""
    (injection,) = given
    driven = stage.coordinator()
    (agent,) = stage.spawn(driven, ENDER)
    launcher, shim = stage.launcher(), stage.identity(agent)["shim_pid"]
    with stage.faulty([launcher], injection, "launcher", launcher):
        stage.end(agent)
        assert stage.ask(driven, "wait", agents=[agent]) is not None, (
            "the coordinator ended with its launcher"
        )
        eventually(lambda: not runs(shim), "the shim leaves, after the end of its agent is known")
    stage.start_another(driven)
    driven.close()


def exit_in_shims(stage: Stage, given: Given) -> None:
    """Agents end that leave processes behind; a coordinator watches."""
    _exit_in_shims(stage, given, *ENDER, "--fork", "1", "--daemonise")


def exit_of_trees_in_shims(stage: Stage, given: Given) -> None:
    """Agents end whose descendants may run on (until=tree)."""
    _exit_in_shims(stage, given, *ENDER, "--daemonise", "--daemon-seconds", "0.5", until="tree")


def exit_unwatched_in_shims(stage: Stage, given: Given) -> None:
    """Agents end while there is no coordinator; the next one reads what was recorded."""
    driven = stage.coordinator()
    agents = stage.spawn(driven, *[ENDER for _ in given])
    driven.kill()
    with stage.faulty_shims(agents, given):
        for agent in agents:
            stage.end(agent)
        with stage.coordinator() as second:
            acknowledged(stage.ask(second, "wait", agents=agents))


def _exit_in_shims(stage: Stage, given: Given, *behaviour: str, **spec: Any) -> None:
    driven = stage.coordinator()
    agents = stage.spawn(driven, *[behaviour for _ in given], **spec)
    with stage.faulty_shims(agents, given):
        for agent in agents:
            stage.end(agent)
        acknowledged(stage.ask(driven, "wait", agents=agents))
    driven.close()


# --- recovery ---------------------------------------------------------------------------------------------------------


def recovery_in_coordinator(stage: Stage, given: Given) -> None:
    """The thread that compares what was believed with what is there."""
    _recover(stage, given, "recovering")


def recovery_in_opener(stage: Stage, given: Given) -> None:
    """The thread that takes the lock, opens the log, begins an epoch."""
    _recover(stage, given, "opening")


def _recover(stage: Stage, given: Given, role: str) -> None:
    """A home with a survivor, an end that nobody has recorded, a stop half done, and a start hardly begun."""
    first = stage.coordinator()
    agents = stage.spawn(first, (), ENDER, STUBBORN)
    stage.ask(first, "stop", agents=agents[2:], grace=GRACE, wait=False)
    first.send("spawn", items=[stage.item()])
    first.kill()
    stage.end(agents[1])
    eventually((stage.attempt(agents[1]) / "sweep.json").exists, "the shim has recorded the end")
    _open_at_gate(stage, given, role)


def new_home(stage: Stage, given: Given) -> None:
    """A directory becomes a home: identity, lock, database, tables."""
    _open_at_gate(stage, given, "opening")


def _open_at_gate(stage: Stage, given: Given, role: str) -> None:
    (injection,) = given
    stage.arm(role)
    driven = stage.opening()
    with stage.faulty_at_gate(role, given, "coordinator"):
        stage.reach_end(driven, role)
    stage.release(f"{role}.end")
    answer = stage.answer(driven, 0)
    if answer is not None and answer["answer"] == "error":
        driven.leave()
        is_error = injection is not None and injection.error is not None
        assert is_error, f"cannot open the home: {answer['error']}"
    else:
        stage.leave(driven, injection)


# --- what several share -----------------------------------------------------------------------------------------------


def _order_in_coordinator(
    stage: Stage, given: Given, ask: str, behaviour: Sequence[str] | None = None, **order: Any
) -> None:
    """An order, about an agent that was started before, or about none: the thread that carries it out."""
    (injection,) = given
    driven = stage.coordinator()
    if behaviour is not None:
        order["agents"] = stage.spawn(driven, behaviour)
    with stage.faulty([threads_of(driven.pid)[LOOP]], injection, "coordinator", driven.pid):
        stage.ask(driven, ask, **order)
    stage.leave(driven, injection)


def _order_in_caller(
    stage: Stage, given: Given, ask: str, behaviour: Sequence[str] | None = None, **order: Any
) -> None:
    """The same: the thread that gives the order and waits."""
    (injection,) = given
    driven = stage.coordinator()
    if behaviour is not None:
        order["agents"] = stage.spawn(driven, behaviour)
    stage.arm("obeying")
    number = driven.send(ask, **order)
    with stage.faulty_at_gate("obeying", given, "coordinator"):
        stage.reach_end(driven, "obeying")
    stage.release("obeying.end")
    stage.answer(driven, number)
    stage.leave(driven, injection)


SCENARIOS: dict[str, Scenario] = {
    "start, coordinator": start_in_coordinator,
    "start, caller": start_in_caller,
    "start, launcher": start_in_launcher,
    "start, shim": start_in_shims,
    "start, child": start_in_children,
    "stop, coordinator": stop_in_coordinator,
    "stop, caller": stop_in_caller,
    "stop, shim": stop_in_shims,
    "exit, coordinator": exit_in_coordinator,
    "exit, launcher": exit_in_launcher,
    "exit, shim": exit_in_shims,
    "exit of a tree, shim": exit_of_trees_in_shims,
    "exit unwatched, shim": exit_unwatched_in_shims,
    "recovery, coordinator": recovery_in_coordinator,
    "recovery, opener": recovery_in_opener,
    "new home, opener": new_home,
}
SIDE_BY_SIDE = {name for name in SCENARIOS if name.endswith(("shim", "child"))}
ALONE = {"new home, opener"}  # each needs a run of its own

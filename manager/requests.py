"""The requests that a coordinator carries out for others: a closed set, each with its own checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from eventstore.errors import InvalidRequest
from manager import launching
from manager.errors import TimedOut
from manager.spec import AgentSpec, explain

if TYPE_CHECKING:
    from manager.control import Caller
    from manager.manager import Manager

LOOK_SECONDS = 1.0  # between two looks whether somebody who waits is still there


def carry_out(manager: Manager, caller: Caller, request: Mapping[str, Any]) -> Any:
    """What `request["method"]` gives. Raises `InvalidRequest` for anything that is not in the set."""
    method = METHODS.get(str(request.get("method", "")))
    arguments = request.get("arguments", {})
    if method is None or not isinstance(arguments, dict):
        raise InvalidRequest(f"cannot do {request.get('method')!r}: a coordinator does {', '.join(METHODS)}")
    return method(manager, caller, **arguments)


def parse_spec(content: object) -> AgentSpec:
    """A spec from data. Raises `InvalidRequest`."""
    try:
        return AgentSpec.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def launch_request(spec: AgentSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to launch: what `spec` says, so that the log does, in the surroundings of whoever asks, of `given`.

    Raises `InvalidRequest` for surroundings that nobody can have.
    """
    env, cwd, umask, nofile = (given[name] for name in ("env", "cwd", "umask", "nofile"))
    is_possible = (
        isinstance(env, dict)
        and all(isinstance(text, str) and "\0" not in text for pair in env.items() for text in pair)
        and isinstance(cwd, str)
        and os.path.isabs(cwd)
        and "\0" not in cwd
        and type(umask) is int
        and 0 <= umask <= 0o777
        and isinstance(nofile, list)
        and [type(limit) for limit in nofile] == [int, int]
    )
    if not is_possible:
        raise InvalidRequest("cannot start it: no process can have the given env, cwd, umask or nofile")
    surroundings = {"env": env, "cwd": cwd, "umask": umask, "nofile": nofile}
    return {**launching.of_spec(spec), **surroundings}


def _spawn(
    manager: Manager, caller: Caller, *, spec: object, name: str | None, request: dict[str, Any], wait: bool
) -> object:
    parsed = parse_spec(spec)
    prepared = launch_request(parsed, request)
    return manager.spawn_prepared(parsed, name, prepared, wait=wait, actor=caller.actor)


def _stop(
    manager: Manager,
    caller: Caller,
    *,
    agents: list[str],
    grace: list[float] | None = None,
    reason: str | None = None,
    wait: bool = True,
    forced: bool = False,
) -> object:
    waits = None if grace is None else (grace[0], grace[1], grace[2])
    return manager.stop_many(
        _texts(agents), grace=waits, reason=reason, wait=wait, forced=forced, actor=caller.actor
    )


def _signal(
    manager: Manager, caller: Caller, *, agent: str, signum: int, reason: str | None = None
) -> object:
    return manager.signal(_text(agent), signum, reason=reason, actor=caller.actor)


def _restart(manager: Manager, caller: Caller, *, agent: str, reason: str | None, wait: bool) -> object:
    return manager.restart(_text(agent), reason=reason, wait=wait, actor=caller.actor)


def _wait(manager: Manager, caller: Caller, *, agents: list[str], any: bool, timeout: float | None) -> object:
    # waiting changes nothing that would be recorded
    left = timeout
    while not caller.is_gone():
        some = LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)
        try:
            return manager.wait_many(_texts(agents), any=any, timeout=some)
        except TimedOut:
            left = None if left is None else left - some
            if left is not None and left <= 0:
                raise
    return None


def _recover(manager: Manager, caller: Caller) -> object:
    del caller
    return manager.recover()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"cannot find agent {value!r}: a name or an id is a text")
    return value


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise InvalidRequest("cannot find the agents: they are given as a list")
    return [_text(value) for value in values]


METHODS: Mapping[str, Callable[..., Any]] = {
    "spawn": _spawn,
    "stop": _stop,
    "signal": _signal,
    "restart": _restart,
    "wait": _wait,
    "recover": _recover,
}

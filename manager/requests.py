"""The requests that a coordinator carries out for others: a closed set, each with its own checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore.errors import InvalidRequest
from manager import launching
from manager.errors import TimedOut
from manager.spec import AgentSpec, Seconds, explain

if TYPE_CHECKING:
    from manager.control import Caller
    from manager.manager import Manager

MOST_DESCRIPTORS = (1 << 63) - 1
LOOK_SECONDS = 1.0  # between two looks whether somebody who waits is still there


_Model = TypeVar("_Model", bound=BaseModel)


class _Asked(BaseModel):
    """The arguments of a method: these, of these types; numbers are no texts, truths no numbers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class _Spawn(_Asked):
    spec: Any
    name: str | None
    request: Any
    wait: bool


class _Stop(_Asked):
    agents: list[str]
    grace: Annotated[list[Seconds], Field(min_length=3, max_length=3)] | None = None
    reason: Any = None
    wait: bool = True
    forced: bool = False


class _Signal(_Asked):
    agent: str
    signum: int
    reason: Any = None


class _Restart(_Asked):
    agent: str
    reason: Any
    wait: bool


class _Wait(_Asked):
    agents: list[str]
    any: bool
    timeout: Annotated[float, Field(allow_inf_nan=False)] | None


class _Recover(_Asked):
    pass


class _Ping(_Asked):
    pass


class _Erase(_Asked):
    agent: str
    output: bool
    reason: Any


def carry_out(manager: Manager, caller: Caller, request: Mapping[str, Any]) -> Any:
    """What `request["method"]` gives. Raises `InvalidRequest` for anything that is not in the set."""
    name = request.get("method")
    if not isinstance(name, str) or name not in METHODS:
        raise InvalidRequest(f"cannot do what is asked: a coordinator does {', '.join(METHODS)}")
    shape, method = METHODS[name]
    return method(manager, caller, _parse(shape, request.get("arguments", {})))


def parse_spec(content: object) -> AgentSpec:
    """A spec from data. Raises `InvalidRequest`."""
    return _parse(AgentSpec, content)


def _parse(model: type[_Model], content: object) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def launch_request(spec: AgentSpec, given: object) -> dict[str, Any]:
    """What to launch: what `spec` says, so that the log does, in the surroundings of whoever asks, of `given`.

    Raises `InvalidRequest` for surroundings that nobody can have.
    """
    found = given if isinstance(given, dict) else {}
    env, cwd, umask, nofile = (found.get(name) for name in ("env", "cwd", "umask", "nofile"))
    is_possible = (
        isinstance(env, dict)
        and all(_is_text(text) for pair in env.items() for text in pair)
        and all(name and "=" not in name for name in env)
        and isinstance(cwd, str)
        and _is_text(cwd)
        and os.path.isabs(cwd)
        and type(umask) is int
        and 0 <= umask <= 0o777
        and isinstance(nofile, list)
        and [type(limit) for limit in nofile] == [int, int]
        and all(-1 <= limit <= MOST_DESCRIPTORS for limit in nofile)
    )
    if not is_possible:
        raise InvalidRequest("cannot start it: no process can have the given env, cwd, umask or nofile")
    surroundings = {"env": env, "cwd": cwd, "umask": umask, "nofile": nofile}
    return {**launching.of_spec(spec), **surroundings}


def _is_text(value: object) -> bool:
    """Whether a process can be given it."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _spawn(manager: Manager, caller: Caller, asked: _Spawn) -> object:
    spec = parse_spec(asked.spec)
    prepared = launch_request(spec, asked.request)
    return manager.spawn_prepared(spec, asked.name, prepared, wait=asked.wait, actor=caller.actor)


def _stop(manager: Manager, caller: Caller, asked: _Stop) -> object:
    waits = None if asked.grace is None else (asked.grace[0], asked.grace[1], asked.grace[2])
    return manager.stop_many(
        asked.agents,
        grace=waits,
        reason=asked.reason,
        wait=asked.wait,
        forced=asked.forced,
        actor=caller.actor,
    )


def _signal(manager: Manager, caller: Caller, asked: _Signal) -> object:
    return manager.signal(asked.agent, asked.signum, reason=asked.reason, actor=caller.actor)


def _restart(manager: Manager, caller: Caller, asked: _Restart) -> object:
    return manager.restart(asked.agent, reason=asked.reason, wait=asked.wait, actor=caller.actor)


def _wait(manager: Manager, caller: Caller, asked: _Wait) -> object:
    # waiting changes nothing that would be recorded
    left = asked.timeout
    while not caller.is_gone():
        some = LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)
        try:
            return manager.wait_many(asked.agents, any=asked.any, timeout=some)
        except TimedOut:
            left = None if left is None else left - some
            if left is not None and left <= 0:
                raise
    return None


def _recover(manager: Manager, caller: Caller, asked: _Recover) -> object:
    del caller, asked
    return manager.recover()


def _ping(manager: Manager, caller: Caller, asked: _Ping) -> object:
    del caller, asked
    manager.ping()
    return None


def _erase(manager: Manager, caller: Caller, asked: _Erase) -> object:
    return manager.erase(asked.agent, output=asked.output, reason=asked.reason, actor=caller.actor)


METHODS: Mapping[str, tuple[type[_Asked], Callable[..., Any]]] = {
    "spawn": (_Spawn, _spawn),
    "stop": (_Stop, _stop),
    "signal": (_Signal, _signal),
    "restart": (_Restart, _restart),
    "wait": (_Wait, _wait),
    "recover": (_Recover, _recover),
    "ping": (_Ping, _ping),
    "erase": (_Erase, _erase),
}

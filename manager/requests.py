"""The requests that a coordinator carries out for others: a closed set, each with its own checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from eventstore.errors import InvalidRequest
from manager.spec import AgentSpec, explain

if TYPE_CHECKING:
    from manager.manager import Manager


def carry_out(manager: Manager, request: Mapping[str, Any]) -> Any:
    """What `request["method"]` gives. Raises `InvalidRequest` for anything that is not in the set."""
    method = METHODS.get(request.get("method", ""))
    arguments = request.get("arguments", {})
    if method is None or not isinstance(arguments, dict):
        raise InvalidRequest(f"cannot do {request.get('method')!r}: a coordinator does {', '.join(METHODS)}")
    return method(manager, str(request.get("actor") or "control")[:200], **arguments)


def parse_spec(content: object) -> AgentSpec:
    """A spec from data. Raises `InvalidRequest`."""
    try:
        return AgentSpec.model_validate(content)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def _spawn(
    manager: Manager, actor: str, *, spec: object, name: str | None, request: dict[str, Any], wait: bool
) -> object:
    return manager.spawn_prepared(parse_spec(spec), name, request, wait=wait, actor=actor)


def _stop(
    manager: Manager,
    actor: str,
    *,
    agents: list[str],
    grace: list[float] | None = None,
    reason: str | None = None,
    wait: bool = True,
    forced: bool = False,
) -> object:
    waits = None if grace is None else (grace[0], grace[1], grace[2])
    return manager.stop_many(agents, grace=waits, reason=reason, wait=wait, forced=forced, actor=actor)


def _signal(manager: Manager, actor: str, *, agent: str, signum: int, reason: str | None = None) -> object:
    return manager.signal(agent, signum, reason=reason, actor=actor)


def _restart(manager: Manager, actor: str, *, agent: str, reason: str | None, wait: bool) -> object:
    return manager.restart(agent, reason=reason, wait=wait, actor=actor)


def _wait(manager: Manager, actor: str, *, agents: list[str], any: bool, timeout: float | None) -> object:
    del actor  # waiting changes nothing that would be recorded
    return manager.wait_many(agents, any=any, timeout=timeout)


def _recover(manager: Manager, actor: str) -> object:
    del actor
    return manager.recover()


METHODS: Mapping[str, Callable[..., Any]] = {
    "spawn": _spawn,
    "stop": _stop,
    "signal": _signal,
    "restart": _restart,
    "wait": _wait,
    "recover": _recover,
}

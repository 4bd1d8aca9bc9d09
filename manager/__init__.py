"""What should happen: the coordinator, and its faces to people. `from manager import Manager, AgentSpec, …` works.

The names below are loaded when they are first used, so that a shim which imports `manager.process` loads nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventstore.errors import OutliveError as OutliveError
    from manager.aio import AsyncManager as AsyncManager
    from manager.errors import SpecConflict as SpecConflict
    from manager.errors import StartFailed as StartFailed
    from manager.errors import TimedOut as TimedOut
    from manager.manager import Manager as Manager
    from manager.spec import AgentSpec as AgentSpec
    from manager.spec import RestartPolicy as RestartPolicy
    from manager.status import AgentStatus as AgentStatus

_HOMES = {
    "AgentSpec": "manager.spec",
    "AgentStatus": "manager.status",
    "AsyncManager": "manager.aio",
    "Manager": "manager.manager",
    "OutliveError": "eventstore.errors",
    "RestartPolicy": "manager.spec",
    "SpecConflict": "manager.errors",
    "StartFailed": "manager.errors",
    "TimedOut": "manager.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'manager' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

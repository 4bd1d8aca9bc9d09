"""What should happen: the coordinator, and its faces to people. `from manager import Manager, AgentSpec, …` works.

The names below are loaded when they are first used, so that a shim which imports `manager.process` loads nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventstore.errors import AmbiguousAgent as AmbiguousAgent
    from eventstore.errors import EpochFenced as EpochFenced
    from eventstore.errors import InvalidRequest as InvalidRequest
    from eventstore.errors import NameInUse as NameInUse
    from eventstore.errors import OutliveError as OutliveError
    from eventstore.errors import SchemaMismatch as SchemaMismatch
    from eventstore.errors import StoreDamaged as StoreDamaged
    from eventstore.errors import StoreUnavailable as StoreUnavailable
    from eventstore.errors import UnknownAgent as UnknownAgent
    from manager.aio import AsyncManager as AsyncManager
    from manager.errors import HomeError as HomeError
    from manager.errors import SpecConflict as SpecConflict
    from manager.errors import StartFailed as StartFailed
    from manager.errors import SystemRefused as SystemRefused
    from manager.errors import TimedOut as TimedOut
    from manager.home import HomeBusy as HomeBusy
    from manager.manager import Manager as Manager
    from manager.spec import AgentSpec as AgentSpec
    from manager.spec import HealthRule as HealthRule
    from manager.spec import Limits as Limits
    from manager.spec import RestartPolicy as RestartPolicy
    from manager.status import AgentStatus as AgentStatus

_HOMES = {
    "AgentSpec": "manager.spec",
    "AgentStatus": "manager.status",
    "AmbiguousAgent": "eventstore.errors",
    "AsyncManager": "manager.aio",
    "EpochFenced": "eventstore.errors",
    "HealthRule": "manager.spec",
    "HomeBusy": "manager.home",
    "HomeError": "manager.errors",
    "InvalidRequest": "eventstore.errors",
    "Limits": "manager.spec",
    "Manager": "manager.manager",
    "NameInUse": "eventstore.errors",
    "OutliveError": "eventstore.errors",
    "RestartPolicy": "manager.spec",
    "SchemaMismatch": "eventstore.errors",
    "SpecConflict": "manager.errors",
    "StartFailed": "manager.errors",
    "StoreDamaged": "eventstore.errors",
    "StoreUnavailable": "eventstore.errors",
    "SystemRefused": "manager.errors",
    "TimedOut": "manager.errors",
    "UnknownAgent": "eventstore.errors",
}

__all__ = [*_HOMES]  # noqa: PLE0604 (its keys are strings, and the names stand in two places already)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'manager' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Specs of agents for tests; all carry the mark of their home, by which a test ends whatever is left of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manager import AgentSpec, Manager
from tests.support import story

QUICK = (0.3, 0.3, 20.0)  # waits of a stop that is to come to its SIGKILL soon, and then has time


def program(home: Path, *command: str, env: Mapping[str, str] | None = None, **more: Any) -> AgentSpec:
    """Run a program."""
    return AgentSpec(command=command, env={story.MARK: str(home), **(env or {})}, **more)


def shell(home: Path, text: str, **more: Any) -> AgentSpec:
    """Run a shell script."""
    return program(home, "sh", "-c", text, **more)


def python(home: Path, text: str, **more: Any) -> AgentSpec:
    """Run a Python program with nothing but the standard library."""
    return program(home, sys.executable, "-I", "-S", "-c", text, **more)


def types(manager: Manager, agent: str) -> list[str]:
    """The types of an agent's events, in order."""
    return [event.type for event in manager.events(agent=agent)]


def data(manager: Manager, agent: str, kind: str) -> list[dict[str, Any]]:
    """The contents of an agent's events of one type."""
    return [event.as_json()["data"] for event in manager.events(agent=agent) if event.type == kind]

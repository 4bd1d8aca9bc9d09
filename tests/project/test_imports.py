"""Imports point one way, the core is pure, and what guards an agent needs the standard library alone."""

import ast
import subprocess
import sys

import pytest

from tests.project.source import (
    PACKAGES,
    ROOT,
    Module,
    all_modules,
    by_name,
    foreign_imports,
    imported_names,
    modules,
    reached_from,
)

MAY_IMPORT = {
    "eventstore": {"eventstore"},
    "projections": {"eventstore", "projections"},
    "manager": {"eventstore", "projections", "manager"},
    "migrations": set(),
}
OURS = {*PACKAGES, "migrations", "tests", "benchmarks", "docs"}

PURE = (
    "eventstore.lifecycle",
    "eventstore.events",
    "eventstore.state",
    "eventstore.values",
    "eventstore.chain",
    "eventstore.codec",
    "manager.decide",
    "manager.judge",
    "manager.recovery",
    "manager.restart",
    "manager.limits",
    "manager.silence",
    "manager.commands",
    "manager.why.verdict",
    "manager.why.likeness",
    "projections.fingerprint",
    "manager.redaction",
    "manager.redaction_own",
    "manager.redaction_rules",
)
IMPURE_MODULES = {
    "asyncio", "ctypes", "fcntl", "glob", "io", "logging", "multiprocessing", "os", "pathlib", "psutil", "random",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlalchemy", "sqlite3", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"input", "open", "print"}
IMPURE_METHODS = {"fromtimestamp", "monotonic", "now", "today", "utcnow", "uuid1", "uuid4"}
CLOCK_TYPES = {"datetime", "date", "dt", "time", "uuid"}

STANDARD_LIBRARY_ONLY = ("manager.process.launcher", "manager.process.shim")

SIGNAL_SENDERS = {"kill", "killpg", "pidfd_send_signal", "send_signal", "terminate"}
# These have methods of such names that send nothing themselves: orders to a coordinator, a write to cgroup.kill.
ORDERS_NOT_SIGNALS = {"door", "self.supervisor", "cgroup", "cgroups"}
MAY_SIGNAL = {
    "manager/process/signalling.py",  # the one door: it takes a proved pidfd
    "eventstore/crashpoints.py",  # a planted crash kills its own process
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    """What happened never depends on what should happen: eventstore ← projections ← manager."""
    wrong = {
        module.path: sorted(arrows)
        for module in modules(package)
        if (arrows := _tops(module) & OURS - MAY_IMPORT[package])
    }
    assert not wrong


@pytest.mark.parametrize("name", PURE)
def test_decisions_are_pure(name: str) -> None:
    """The same history and the same command give the same answer: no clock, no chance, no I/O, no logging."""
    assert name in by_name(), f"{name} is listed as pure and does not exist"
    impure = {
        module.path: found
        for module in reached_from(by_name()[name]).values()
        if not module.path.endswith("__init__.py") and (found := _impurities(module))
    }
    assert not impure


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_what_guards_an_agent_needs_the_standard_library_alone(name: str) -> None:
    """An upgrade of a library cannot break the process that holds a running agent's exit code."""
    assert name in by_name(), f"{name} is listed and does not exist"
    foreign = {
        module.path: sorted(found)
        for module in reached_from(by_name()[name]).values()
        if (found := foreign_imports(module))
    }
    assert not foreign


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_what_guards_an_agent_loads_the_standard_library_alone(name: str) -> None:
    """As above, seen from a real interpreter: nothing foreign is in memory after the import."""
    program = (
        f"import sys; before = set(sys.modules); import {name}\n"
        "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {*sys.stdlib_module_names, *PACKAGES}


def test_signals_leave_by_one_door() -> None:
    """Never the wrong process: only the module that proves an identity first may send a signal."""
    senders = {
        f"{module.path}:{node.lineno}": node.func.attr
        for module in all_modules()
        if module.path not in MAY_SIGNAL
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SIGNAL_SENDERS
        and ast.unparse(node.func.value) not in ORDERS_NOT_SIGNALS
    }
    assert not senders


def _tops(module: Module) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(module)}


def _impurities(module: Module) -> list[str]:
    found = [f"imports {top}" for top in sorted(_tops(module) & IMPURE_MODULES)]
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                found.append(f"line {node.lineno}: calls {name}")
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attribute)) if (
                attribute in IMPURE_METHODS and owner in CLOCK_TYPES
            ):
                found.append(f"line {node.lineno}: calls {owner}.{attribute}")
    return found

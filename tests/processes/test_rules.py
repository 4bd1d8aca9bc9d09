"""Rules about the code itself: one way to signal, light helpers, little memory."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Nursery

_ROOT = Path(__file__).resolve().parents[2]
_SIGNALLING = "manager/process/signalling.py"
_CRASHPOINTS = "eventstore/crashpoints.py"  # kills itself, and nobody else
_FORBIDDEN = {
    "kill",
    "killpg",
    "pidfd_send_signal",
    "send_signal",
    "terminate",
    "suspend",
    "resume",
    "tgkill",
}
# Attributes of our own modules that have such a name and signal nobody directly.
_OURS = {("cgroup", "kill"), ("cgroups", "kill"), ("signalling", "send_signal")}
_PROVERS = {"manager/process/identity.py", _SIGNALLING}


def _sources() -> list[tuple[str, ast.Module]]:
    files = [
        file
        for package in ("manager", "eventstore", "projections")
        for file in (_ROOT / package).rglob("*.py")
    ]
    return [(str(file.relative_to(_ROOT)), ast.parse(file.read_text(encoding="utf-8"))) for file in files]


def _signal_calls(tree: ast.Module) -> list[str]:
    """Calls of a forbidden attribute on anything that is not our own: os.kill(…), process.terminate()."""
    found = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _FORBIDDEN
        ):
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else "?"
            if name in ("os", "signal", "psutil") or (name, node.func.attr) not in _OURS:
                found.append(f"{name}.{node.func.attr} at line {node.lineno}")
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "signal", "posix"):
            found += [f"import of {alias.name}" for alias in node.names if alias.name in _FORBIDDEN]
    return found


def _is_manager_facade(call: str) -> bool:
    """The facade's own verbs: manager.kill(agent) and the like, which end in a proved signal."""
    return call.split(".", 1)[0] in ("manager", "self", "client", "door", "?")


def _raw_signal_calls(tree: ast.Module) -> list[str]:
    return [call for call in _signal_calls(tree) if not _is_manager_facade(call)]


def test_only_one_module_signals() -> None:
    """os.kill, psutil's kill and all the like stand in the signalling module alone (crash points kill themselves)."""
    found = {name: calls for name, tree in _sources() if (calls := _raw_signal_calls(tree))}
    assert set(found) <= {_SIGNALLING, _CRASHPOINTS}, found


def test_the_process_package_has_no_other_way_at_all() -> None:
    """Here not even a method called kill on something unknown is allowed."""
    found = {
        name: calls
        for name, tree in _sources()
        if name.startswith("manager/process/") and name != _SIGNALLING and (calls := _signal_calls(tree))
    }
    assert not found


@pytest.mark.parametrize(
    "code", ["import os\nos.kill(1, 9)", "from os import killpg", "psutil.Process(1).kill()", "p.terminate()"]
)
def test_the_rule_catches_what_it_is_for(code: str) -> None:
    """A planted raw signal is found."""
    assert _signal_calls(ast.parse(code))


def test_only_proofs_make_handles() -> None:
    """Nobody but the provers calls `issue`."""
    callers = {
        name
        for name, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "issue" in [alias.name for alias in node.names]
    }
    assert callers <= _PROVERS


def test_the_launcher_imports_little_and_only_the_standard_library() -> None:
    """No third-party module, and none of the heavy ones, is loaded in a launcher."""
    program = (
        f"import sys; sys.path.append({str(_ROOT)!r}); import manager.process.launcher\n"
        "from manager.process.features import features; features()\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    tops = {name.split(".")[0] for name in loaded}
    assert tops - {"eventstore", "manager"} <= set(sys.stdlib_module_names) | {"__main__", "_distutils_hack"}
    heavy = {
        "dataclasses",
        "logging",
        "subprocess",
        "asyncio",
        "hashlib",
        "threading",
        "inspect",
        "pathlib",
        "psutil",
    }
    assert not heavy & tops
    assert len(loaded) < 120


def _kilobytes(pid: int, field: str) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith(field)))


def test_fifty_agents_cost_little_memory_each(nursery: Nursery) -> None:
    """A shim shares nearly everything with its launcher: less than 1 MB is its own."""
    attempts = [nursery.submit(["sleep", "60"]) for _ in range(50)]
    for attempt in attempts:
        nursery.answer(attempt)
        attempt.records()
    assert os.path.exists("/proc/self/smaps_rollup")
    shims = [attempt.launched.shim_pid for attempt in attempts]
    private = sorted(_kilobytes(shim, "Private_Dirty:") for shim in shims)[len(shims) // 2]
    shared = sum(_kilobytes(shim, "Pss:") for shim in shims) / len(shims)
    print(f"private memory of a shim: {private} KB, PSS: {shared:.0f} KB")
    assert private < 1000  # 800 measured, 1,280 before starts were rehearsed
    assert shared < 1400  # 1,000 measured; a fresh interpreter for each would be about 3,000


def test_what_a_shim_makes_begins_in_new_pages() -> None:
    """After the filling an object is the first of its pool, and without it hardly any is; pools are 16 KB here."""
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; from manager.process.launcher import fill_pools\n"
        "filling = fill_pools() if sys.argv[1] == 'filled' else []\n"
        "made = [bytes(size - 33) for size in range(64, 513, 16)]\n"
        "print(sum(id(one) % 16384 == 48 for one in made))"
    )
    firsts = {
        how: int(subprocess.check_output([sys.executable, "-I", "-c", program, how, str(_ROOT)]))
        for how in ("filled", "as it is")
    }
    assert firsts["filled"] >= 20  # of 29; what the program itself has freed meanwhile takes some
    assert firsts["as it is"] < 10

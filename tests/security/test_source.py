"""What the source may not contain: ways to signal past a proof, and ways to run what somebody says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.project.source import all_modules, modules
from tests.support.tally import Tally

SIGNALS = {
    "kill",
    "killpg",
    "pidfd_send_signal",
    "send_signal",
    "terminate",
    "tgkill",
    "tkill",
    "suspend",
    "resume",
}
RAW = {"os", "signal", "posix", "_signal", "psutil", "libc", "ctypes", "subprocess"}
# Where a bare number or handle may be signalled: the one function, crash points (themselves), a group by cgroup.kill.
SIGNALLERS = {"manager/process/signalling.py", "eventstore/crashpoints.py"}
OURS = {"self.supervisor"}  # whose verb of that name ends in the one function
DEMO = "manager/demo/"  # a program like any other, which kills the coordinator that it has started
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "commands"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def signals(path: str, tree: ast.Module) -> Iterator[str]:
    """Everything that names a way to signal, whether it is called, imported, aliased or looked up."""
    if path in SIGNALLERS or path.startswith(DEMO):
        return
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in RAW
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if (
                attr in SIGNALS and owner in aliases | RAW
            ):
                yield f"{path}:{node.lineno} {owner}.{attr}"
            case ast.ImportFrom(module=module) if (module or "").partition(".")[0] in RAW:
                yield from (f"{path}:{node.lineno} {a.name}" for a in node.names if a.name in SIGNALS | {"*"})
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                name in SIGNALS
            ):
                yield f"{path}:{node.lineno} getattr {name}"
            case ast.Call(func=ast.Attribute(value=owner, attr="terminate" | "send_signal" | "tgkill")):
                if ast.unparse(owner) not in OURS:
                    yield f"{path}:{node.lineno} {ast.unparse(owner)}"
            case ast.Constant(value=str(text)) if "cgroup.kill" in text and " " not in text.strip():
                if path != "manager/process/cgroup.py":
                    yield f"{path}:{node.lineno} {text}"


def runs_strangers_words(path: str, tree: ast.Module) -> Iterator[str]:
    """Pickles, shells, evaluation, YAML, and attributes by a name that comes with a request."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (
                    f"{path}:{node.lineno} {a.name}" for a in names if a.name.split(".")[0] in BANNED_MODULES
                )
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in BANNED_MODULES:
                yield f"{path}:{node.lineno} {module}"
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
                yield f"{path}:{node.lineno} {name}"
            case ast.Call(func=ast.Attribute() as func) if ast.unparse(func) in SHELLS:
                yield f"{path}:{node.lineno} {ast.unparse(func)}"
            case ast.keyword(arg="shell", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                yield f"{path}:{node.value.lineno} shell"
            case ast.Call(
                func=ast.Name(id="getattr"), args=[ast.Name(id="manager" | "self"), name, *_]
            ) if not (isinstance(name, ast.Constant)):
                yield f"{path}:{node.lineno} getattr by {ast.unparse(name)}"


def test_no_process_is_signalled_past_a_proof(tally: Tally) -> None:
    """One function signals, and it takes a handle that only a proof makes."""
    assert [line for module in all_modules() for line in signals(module.path, module.tree)] == []
    tally("security 5 ways to signal past a proof, in the source", runs=len(all_modules()))


PLANTED_SIGNALS = [
    "import os\nos.kill(1, 9)",
    "import os as o\no.kill(1, 9)",
    "import os\nf = os.killpg",
    "from os import kill as k",
    "from os import *",
    "from signal import pidfd_send_signal",
    "import signal\nsignal.pidfd_send_signal(3, 9)",
    "import os\ngetattr(os, 'kill')(1, 9)",
    "psutil.Process(1).send_signal(9)",
    "self._child.terminate()",
    "open(directory + '/cgroup.kill', 'w')",
    "libc.kill(1, 9)",
    "import psutil\npsutil.Process.terminate(p)",
]


@pytest.mark.parametrize("code", PLANTED_SIGNALS)
def test_a_planted_signal_is_found(code: str, tally: Tally) -> None:
    """The rule catches what it is for."""
    assert list(signals("manager/planted.py", ast.parse(code)))
    tally("security 5 planted ways to signal, found")


def test_nothing_runs_what_a_stranger_says(tally: Tally) -> None:
    """No pickle, no shell, no evaluation, no YAML; what a request may ask for is a closed table."""
    everything = [*all_modules(), *modules("migrations")]
    assert [line for module in everything for line in runs_strangers_words(module.path, module.tree)] == []
    tally("security 8 ways to run a stranger's words, in the source", runs=len(everything))


PLANTED_WORDS = [
    "import pickle",
    "from pickle import loads",
    "import yaml",
    "eval(text)",
    "exec(text)",
    "subprocess.run(text, shell=True)",
    "subprocess.run(text, shell=maybe)",
    "import os\nos.system(text)",
    "getattr(manager, request['method'])()",
    "getattr(self, name)()",
    "__import__(name)",
]


@pytest.mark.parametrize("code", PLANTED_WORDS)
def test_a_planted_door_is_found(code: str, tally: Tally) -> None:
    """The rule catches what it is for."""
    assert list(runs_strangers_words("manager/planted.py", ast.parse(code)))
    tally("security 8 planted ways to run a stranger's words, found")

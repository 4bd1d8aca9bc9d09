"""Every effect has a named crash point right before and right after it, so that a sweep of the points misses none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.project.source import Module, all_modules

EFFECTS = {
    *(f"os.{name}" for name in ("write", "pwrite", "rename", "replace", "mkdir", "makedirs", "unlink", "remove")),
    *(f"os.{name}" for name in ("rmdir", "fsync", "fdatasync", "link", "symlink", "truncate", "ftruncate")),
    *(f"os.{name}" for name in ("chmod", "fchmod", "chown", "fchown", "fork", "forkpty", "posix_spawn", "waitpid")),
    *(f"os.{name}" for name in ("wait", "wait3", "wait4", "kill", "killpg", "execv", "execve", "execvp", "execvpe")),
    *("fcntl.flock", "fcntl.lockf", "fcntl.fcntl", "signal.pidfd_send_signal"),
    # Our own, whose bodies are in ALLOWED: who calls them has the points, so that they tell who dies.
    *("send_signal", "send_group_signal", "send", "self._backend.write", "migrating.migrate", "finish_creation"),
    *(f"{owner}.{name}" for owner in ("cgroup", "cgroups") for name in ("create", "enter", "kill", "remove")),
}  # fmt: skip
METHODS = {
    *("send", "sendall", "sendmsg", "sendto", "bind", "listen", "connect", "shutdown"),  # of a socket
    *("commit", "rollback", "begin", "execute", "executemany", "executescript"),  # of a database
    *("mkdir", "rmdir", "unlink", "rename", "touch", "chmod", "write_text", "write_bytes"),  # of a Path
}  # fmt: skip
NOT_EFFECTS = {"self._engine.connect", "sqlite3.connect", "event.listen", "self.log.begin", "log.begin"}
POINT = "crash_point"

IN_A_TRANSACTION = "it lasts only with the commit, which has points on both sides"
ONLY_A_LOOK = "it changes nothing that outlives it"
CALLERS_HAVE_THEM = "its callers have the points: they tell who dies"
ONLY_FOR_A_POWER_LOSS = "what it makes durable is there before and after it, for all but a power loss"
OUR_OWN = "it is about the calling process alone and ends with it"
# By (module, function), or module alone: why its effects need no point of their own.
ALLOWED = {
    "eventstore.statements": IN_A_TRANSACTION,
    "eventstore.postgres": CALLERS_HAVE_THEM,
    "eventstore.postgres_batch": CALLERS_HAVE_THEM,
    "eventstore.postgres_session": "who is killed there leaves nothing: what it ends has ended, or is of nobody",
    "eventstore.postgres_source": ONLY_A_LOOK,
    "projections.agents": IN_A_TRANSACTION,
    "projections.rebuild": IN_A_TRANSACTION,
    "projections.aside.folded_aside": "it is a temporary file without a name",
    "eventstore.sqlite.write": CALLERS_HAVE_THEM,
    "eventstore.sqlite._begin_immediate": CALLERS_HAVE_THEM,
    "eventstore.sqlite_file.fetch": ONLY_A_LOOK,
    "eventstore.sqlite_file.snapshot": ONLY_A_LOOK,
    "eventstore.sqlite_file.stream": ONLY_A_LOOK,
    "eventstore.sqlite_file.connect_read_only": ONLY_A_LOOK,
    "eventstore.postgres_query._ask": ONLY_A_LOOK,
    "eventstore.sqlite_query._ask": ONLY_A_LOOK,
    "eventstore.sqlite_query._confine": ONLY_A_LOOK,
    "eventstore.writelock._give_up": CALLERS_HAVE_THEM,
    "eventstore.writelock._take": CALLERS_HAVE_THEM,
    "eventstore.writing._committing": CALLERS_HAVE_THEM,
    "eventstore.crashpoints": "it is the crash",
    "manager.home._try_flock": CALLERS_HAVE_THEM,
    "manager.homeidentity._sync": ONLY_FOR_A_POWER_LOSS,
    "manager.messages.send": CALLERS_HAVE_THEM,
    "manager.aio": "threads of a pool are no sockets",
    "manager.process.signalling": CALLERS_HAVE_THEM,
    "manager.process.cgroup": CALLERS_HAVE_THEM,
    "manager.process.attempt_lock.is_locked": ONLY_A_LOOK,
    "manager.process.persistence._sync_names": ONLY_FOR_A_POWER_LOSS,
    "manager.process.persistence._set_aside": "it is done again until the record has its place",
    "manager.process.procfs.set_name": OUR_OWN,
    "manager.process.child._execute_file": "the point is before the call; after it there is only the agent",
    "manager.cli.holder.is_held": ONLY_A_LOOK,
    "manager.cli.tailing.write": "it prints",
    "manager.process.rehearsal": "it is left out while a point is armed; nothing of an agent's is in it",
}
LEFT_OUT = "manager.demo"  # it goes through the manager like any other program


def test_each_effect_has_a_point_on_both_sides() -> None:
    """Between any two effects, before the first and after the last one of a function, the process can be killed."""
    bare = {
        f"{module.path}:{line}": what
        for module in all_modules()
        if not module.name.startswith(LEFT_OUT) and module.name not in ALLOWED
        for line, what in bare_effects(module)
    }
    assert not bare


def test_nothing_is_allowed_that_does_not_exist() -> None:
    """An exception that nobody needs any more would hide the next effect."""
    known = {module.name for module in all_modules()}
    known |= {f"{m.name}.{f.name}" for m in all_modules() for f in _functions(m.tree)}
    assert set(ALLOWED) <= known
    idle = [name for name in ALLOWED if not any(_effects_of(name))]
    assert not idle


@pytest.mark.parametrize(
    "body",
    [
        "os.unlink(a)",
        "crash_point('a'); os.unlink(a)",
        "os.unlink(a); crash_point('a')",
        "crash_point('a'); os.write(1, a); os.fsync(1); crash_point('b')",
        "crash_point('a'); os.open(a, os.O_RDWR | os.O_CREAT)",
        "crash_point('a'); os.open(a, flags)",
        "crash_point('a'); os.waitid(os.P_ALL, 0, os.WEXITED)",
        "crash_point('a'); open(a, 'w')",
        "crash_point('a'); path.with_name('b').mkdir()",
        "crash_point('a'); [os.kill(pid, 9) for pid in pids]",
        "crash_point('a'); (lambda: os.fork())()",
    ],
)
def test_the_rule_catches_what_it_is_for(body: str) -> None:
    """A planted effect without a point on one of its sides is found."""
    assert list(bare_effects(_module(f"flags = os.O_CREAT | os.O_EXCL\ndef f(a):\n    {body}\n")))


@pytest.mark.parametrize(
    "body",
    [
        "crash_point('a'); os.unlink(a); crash_point('b'); os.fsync(1); crash_point('c')",
        "os.open(a, os.O_RDONLY); open(a); os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)",
    ],
)
def test_the_rule_lets_pass_what_is_right(body: str) -> None:
    """Points on both sides, or no effect at all."""
    assert not list(bare_effects(_module(f"def f(a):\n    {body}\n")))


def bare_effects(module: Module) -> Iterator[tuple[int, str]]:
    """(line, call) of each effect of a module with no point between it and the effect before or after it."""
    for function in [module.tree, *_functions(module.tree)]:
        if f"{module.name}.{getattr(function, 'name', '')}" in ALLOWED:
            continue
        calls = sorted(
            _own_calls(function), key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0)
        )
        steps = [call for call in calls if _name(call) == POINT or _is_effect(call, module)]
        is_point = [False, *(_name(step) == POINT for step in steps), False]
        for number, step in enumerate(steps, start=1):
            if not is_point[number] and not (is_point[number - 1] and is_point[number + 1]):
                yield step.lineno, ast.unparse(step)


def _effects_of(allowed: str) -> Iterator[ast.Call]:
    for module in all_modules():
        if module.name == allowed:
            yield from (call for call in _calls(ast.walk(module.tree)) if _is_effect(call, module))
        elif allowed.startswith(module.name + "."):
            for function in _functions(module.tree):
                if f"{module.name}.{function.name}" == allowed:
                    yield from (call for call in _own_calls(function) if _is_effect(call, module))


def _is_effect(call: ast.Call, module: Module) -> bool:
    name = _name(call)
    if name == "os.open":
        return "O_CREAT" in _spelled_out(call, module)
    if name == "os.waitid":
        return "WNOWAIT" not in _spelled_out(call, module)
    if name == "open":
        return any(set("wax+") & set(_mode(argument)) for argument in [*call.args[1:2], *call.keywords])
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr in METHODS
    is_question = name.endswith(".execute") and re.search(r"'(SELECT |PRAGMA [^=]*$)", ast.unparse(call))
    return name in EFFECTS or (is_method and name not in NOT_EFFECTS and not is_question)


def _mode(argument: ast.AST) -> str:
    value = argument.value if isinstance(argument, ast.keyword) and argument.arg == "mode" else argument
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _spelled_out(call: ast.Call, module: Module) -> str:
    """The call's text, with what its names stand for anywhere in the module."""
    names = {node.id for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Name)}
    values = [
        ast.unparse(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id in names for target in node.targets)
    ]
    return " ".join([ast.unparse(call), *values])


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls in a body, those of functions inside it left out."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls([node])
            waiting.extend(ast.iter_child_nodes(node))


def _calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    return (node for node in nodes if isinstance(node, ast.Call))


def _module(text: str) -> Module:
    return Module(path="planted.py", name="planted", tree=ast.parse(text), line_count=0)

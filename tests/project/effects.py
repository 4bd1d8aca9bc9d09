"""Which calls of the source are effects, and which are crash points."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.project.source import Module

_OS = """
    write writev pwrite pwritev sendfile copy_file_range splice posix_fallocate rename renames replace mkdir makedirs
    mkfifo mknod unlink remove removedirs rmdir fsync fdatasync sync link symlink truncate ftruncate chmod fchmod lchmod
    chown fchown lchown utime setxattr removexattr fork forkpty posix_spawn posix_spawnp system popen waitpid wait wait3
    wait4 kill killpg abort execl execle execlp execlpe execv execve execvp execvpe
"""
_SHUTIL = (
    "copy copy2 copyfile copyfileobj copymode copystat copytree move rmtree chown make_archive unpack_archive"
)
FOREIGN = {
    *(f"os.{name}" for name in _OS.split()),
    *(f"shutil.{name}" for name in _SHUTIL.split()),
    *(f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output", "getoutput")),
    *("fcntl.flock", "fcntl.lockf", "fcntl.fcntl"),
    *("signal.pidfd_send_signal", "signal.raise_signal", "signal.pthread_kill"),
}
# Our own, whose bodies are allowed to have no points: who calls them has the points, so that they tell who dies.
OURS = {
    *(
        "send_signal",
        "send_group_signal",
        "send",
        "self._backend.write",
        "migrating.migrate",
        "finish_creation",
    ),
    *(f"{owner}.{name}" for owner in ("cgroup", "cgroups") for name in ("create", "enter", "kill", "remove")),
    *("eventstore.writelock.self._take", "self._give_up", "_execute", "file.flush"),
}
# Our own, whose bodies have points, too: who calls them is in another state before and after.
OURS |= {
    *("appending.insert", "inlines.apply", "self._store.begin_epoch", "self._outcome"),
    *(
        "client.start",
        "client.submit",
        "self._client.close",
        "persist",
        "leave_nothing",
        "manager.process.shim._note",
    ),
}
METHODS = {
    *("send", "sendall", "sendmsg", "sendto", "bind", "listen", "connect", "shutdown"),  # of a socket
    *("commit", "rollback", "begin", "execute", "executemany", "executescript"),  # of a database
    *("mkdir", "rmdir", "unlink", "rename", "touch", "chmod", "write_text", "write_bytes"),  # of a Path
    *("symlink_to", "hardlink_to", "write", "writelines"),  # and of a file
    *("kill", "terminate", "send_signal"),  # of a process
}
NOT_EFFECTS = {
    *("self._engine.connect", "sqlite3.connect", "event.listen", "self.log.begin", "log.begin"),
    # Our own, which have the points inside: a transaction, a file of the home, an order to the coordinator.
    *(
        "store.write",
        "self._store.write",
        "backend.write",
        "self.write",
        "self._head_file.write",
        "self._files.write",
    ),
    *("door.kill", "self.supervisor.send_signal", "bundling.write"),
    *("sys.stdout.write", "passage.write", "copy.write"),  # it prints, or is memory
}
POINT = "crash_point"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = tuple[int, str]


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function in there, those inside others too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def effects(body: ast.AST, module: Module) -> Iterator[ast.Call]:
    """The calls in a function, or at a module's top, that are effects; those of functions inside it left out."""
    return (call for call in own_calls(body) if is_effect(call, module))


def points(body: ast.AST) -> Iterator[ast.Call]:
    """The crash points in a function, or at a module's top."""
    return (call for call in own_calls(body) if name_of(call) == POINT)


def own_calls(body: ast.AST) -> Iterator[ast.Call]:
    """The calls in there, those of functions inside it left out."""
    waiting = list(ast.iter_child_nodes(body))
    if isinstance(body, ast.Call):
        yield body
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Function):
            if isinstance(node, ast.Call):
                yield node
            waiting.extend(ast.iter_child_nodes(node))


def is_effect(call: ast.Call, module: Module) -> bool:
    """Whether it changes something outside this process, or ends or makes a process."""
    name = name_of(call)
    if name == "os.open":
        return "O_CREAT" in _spelled_out(call, module)
    if name == "os.waitid":
        return "WNOWAIT" not in _spelled_out(call, module)
    if name == "open":
        return any(_writes(argument) for argument in [*call.args[1:2], *call.keywords])
    is_ours = bool({name, f"{module.name}.{name}"} & OURS)
    if not isinstance(call.func, ast.Attribute):
        return is_ours
    if call.func.attr == "open":
        return any(_writes(argument) for argument in [*call.args[:2], *call.keywords])
    is_move = (
        call.func.attr == "replace" and len(call.args) == 1 and not call.keywords
    )  # two arguments: of a text
    is_question = name.endswith(".execute") and re.search(
        r"'(SELECT |PRAGMA (?!wal_checkpoint)[^=]*$)", ast.unparse(call)
    )
    is_method = is_move or call.func.attr in METHODS
    return is_ours or name in FOREIGN or (is_method and name not in NOT_EFFECTS and not is_question)


def hidden(tree: ast.Module) -> Iterator[Found]:
    """(line, text) of each way to an effect, or to a crash point, by another name than its own."""
    owners = {name.partition(".")[0] for name in FOREIGN}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    called |= {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript)
    }  # of a type: Popen[bytes]
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=origin, names=names):
                is_hidden = any(f"{origin}.{one.name}" in FOREIGN or one.name == "*" for one in names)
                is_hidden = is_hidden or any(one.name == POINT and one.asname for one in names)
            case ast.Import(names=names):
                is_hidden = any(one.name in owners and one.asname for one in names)
            case ast.Attribute():
                is_hidden = ast.unparse(node) in FOREIGN and id(node) not in called
            case ast.Name(id="crash_point"):
                is_hidden = id(node) not in called
            case ast.Call():
                is_hidden = name_of(node) == POINT and id(node) not in statements
            case ast.Assign(value=ast.Name(id=name)):
                is_hidden = name in owners
            case _:
                continue
        if is_hidden:
            yield node.lineno, ast.unparse(node)


def name_of(call: ast.Call) -> str:
    """What is called, as it is written."""
    return ast.unparse(call.func)


def _writes(argument: ast.AST) -> bool:
    """Whether it is a mode that can change a file."""
    value = argument.value if isinstance(argument, ast.keyword) and argument.arg == "mode" else argument
    return (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", value.value) is not None
    )


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

"""Every effect has a named crash point right before and right after it, so that a sweep of the points misses none."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.project.effects import Function, effects, functions, hidden, points
from tests.project.paths import bare
from tests.project.source import Module, all_modules

IN_A_TRANSACTION = "it lasts only with the commit, which has points on both sides"
ONLY_A_LOOK = "it changes nothing that outlives it"
CALLERS_HAVE_THEM = "its callers have the points: they tell who dies"
ONLY_FOR_A_POWER_LOSS = "what it makes durable is there before and after it, for all but a power loss"
IN_A_NEW_FILE = "the file appears with the last step of new_file, which has the points"
THE_CALLED_HAVE_THEM = "what it calls has the points"
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
    "eventstore.segments._helper": "who is started only reads, and ends with us",
    "eventstore.sqlite.write": CALLERS_HAVE_THEM,
    "eventstore.sqlite._begin_immediate": CALLERS_HAVE_THEM,
    "eventstore.sqlite._be_patient": OUR_OWN,
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
    "manager.process.launcher._reap": "the last call finds nobody",
    "manager.checkpointing.write_checkpoint": THE_CALLED_HAVE_THEM,
    "manager.prunes.require_vouched": THE_CALLED_HAVE_THEM,
    "manager.newfile.write": IN_A_NEW_FILE,
    "manager.prunedfiles.intend": IN_A_NEW_FILE,
    "manager.pruning.prune": IN_A_NEW_FILE,
    "manager.cli.export.export_command": IN_A_NEW_FILE,
    "manager.cli.holder.is_held": ONLY_A_LOOK,
    "manager.cli.tailing.write": "it prints",
    "manager.process.rehearsal": "it is left out while a point is armed; nothing of an agent's is in it",
}
LEFT_OUT = "manager.demo"  # it goes through the manager like any other program

# The points that no effect in the same function needs: there is another one beside them, or the effect is elsewhere.
MORE_POINTS = {
    "eventstore.appending.trim": "tool.before_prune tool.after_prune",
    "eventstore.sqlite.close": "store.before_close store.after_close",
    "eventstore.store._transaction": "store.after_begin store.before_commit",
    "manager.control.ask": "client.after_accept",
    "manager.home.prepare": "coordinator.before_home_parents coordinator.after_home_parents",
    "manager.home.acquire": "coordinator.after_lock_file coordinator.after_lock",
    "manager.home.release": "coordinator.after_unlock",
    "manager.launchpad.launch": "coordinator.before_request",
    "manager.process.attempt_dir.write_record": "shim.before_stale_record_removed",
    "manager.process.attempt_lock.claim": "coordinator.before_claim_parent",
    "manager.process.child.become_agent": """
        child.started child.after_gate child.before_group child.after_group child.before_exec
    """,
    "manager.process.launcher.serve": "launcher.started",
    "manager.process.launcher._reap": "launcher.before_reap launcher.after_reap",
    "manager.process.launcher._send": "launcher.after_rights",
    "manager.process.shim.run": "shim.after_spec shim.before_group",
    "manager.process.shim._record_identity": "shim.after_identity",
    "manager.process.shim._refuse": "shim.after_child_turned_away shim.before_refused_group_removal",
    "manager.process.shim._accompany": """
        shim.after_gate shim.before_exit_record shim.before_unlock shim.before_reap
    """,
    "manager.recovering.recover": "coordinator.before_recovery coordinator.after_recovery",
    "manager.stopmarks._make": "coordinator.before_stop_mark",
    "manager.stopping.pursue": "coordinator.before_kill coordinator.after_kill",
    "manager.supervisor.reconcile": "coordinator.before_look",
}


def test_each_effect_has_a_point_on_both_sides() -> None:
    """Between any two effects, before the first and after the last one of a path, the process can be killed."""
    found = {
        f"{module.path}:{line}": what
        for name, module, body in _bodies()
        if not {name, module.name} & set(ALLOWED) and not module.name.startswith(LEFT_OUT)
        for line, what in bare(body, module)
    }
    assert not found


def test_no_point_could_be_removed_unnoticed() -> None:
    """Without any one of them an effect is bare; those of which that isn't true are listed, so that none gets lost."""
    unneeded: dict[str, Counter[str]] = {}
    for name, module, body in _bodies():
        found = bare(body, module)
        for point in points(body):
            if bare(body, module, without=point) == found:
                unneeded.setdefault(name, Counter()).update([ast.literal_eval(point.args[0])])
    assert unneeded == {name: Counter(listed.split()) for name, listed in MORE_POINTS.items()}


def test_effects_and_points_go_by_their_names() -> None:
    """By another name an effect would not be seen: nobody imports one, passes one on or hides a point in a term."""
    found = {f"{module.path}:{line}": what for module in all_modules() for line, what in hidden(module.tree)}
    assert not found


def test_nothing_is_allowed_that_does_not_exist() -> None:
    """An exception that nobody needs any more would hide the next effect."""
    bodies = list(_bodies())
    busy = {
        part for name, module, body in bodies if any(effects(body, module)) for part in (name, module.name)
    }
    assert set(ALLOWED) <= busy


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
        "crash_point('a'); path.open('w')",
        "crash_point('a'); path.replace(other)",
        "crash_point('a'); path.with_name('b').mkdir()",
        "crash_point('a'); os.fdopen(a, 'w').write(text)",
        "crash_point('a'); shutil.rmtree(a)",
        "crash_point('a'); subprocess.run(a)",
        "crash_point('a'); process.terminate()",
        "crash_point('a'); signal.raise_signal(9)",
        "crash_point('a'); connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')",
        "crash_point('a'); [os.kill(pid, 9) for pid in pids]",
        "crash_point('a'); [os.kill(pid, 9) for pid in pids]; crash_point('b')",
        "crash_point('a'); (lambda: os.fork())()",
        "if a: crash_point('a')\n    else: os.unlink(a)\n    crash_point('b')",
        "crash_point('a'); os.unlink(a)\n    if a: crash_point('b')",
        "crash_point('a')\n    for b in a: os.unlink(b)\n    crash_point('b')",
        "crash_point('a')\n    while a:\n        os.unlink(a)\n        if b: continue\n        crash_point('b')",
        "crash_point('a')\n    while True:\n        os.unlink(a)\n        if b: break\n        crash_point('b')",
        "crash_point('a'); os.unlink(a)\n    if a: return\n    crash_point('b')",
        "crash_point('a')\n    try: os.mkdir(a); b()\n    except OSError: return\n    crash_point('b')",
        "try: crash_point('a')\n    finally: os.unlink(a)",
        "crash_point('a')\n    with suppress(OSError): os.mkdir(a); b(); crash_point('b')",
        "crash_point('a')\n    with connection.begin(): crash_point('b')",
        "match a:\n        case 1: os.unlink(a)\n        case _: crash_point('b')",
    ],
)
def test_the_rule_catches_what_it_is_for(body: str) -> None:
    """A planted effect without a point on one of its sides, on some path, is found."""
    assert _bare_in(body)


@pytest.mark.parametrize(
    "line",
    [
        "from os import unlink",
        "from os import unlink as gone",
        "from shutil import *",
        "import os as system",
        "system = os",
        "gone = os.unlink",
        "atexit.register(os.unlink, a)",
        "from eventstore.crashpoints import crash_point as point",
        "point = crash_point",
        "a and crash_point('a')",
    ],
)
def test_the_rule_sees_another_name(line: str) -> None:
    """For an effect or a point."""
    assert list(hidden(ast.parse(line)))


@pytest.mark.parametrize(
    "body",
    [
        "crash_point('a'); os.unlink(a); crash_point('b'); os.fsync(1); crash_point('c')",
        "os.open(a, os.O_RDONLY); open(a); os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)",
        "a.replace('b', 'c'); replace(a, b=1); path.open('rb'); connection.execute('PRAGMA user_version')",
        "crash_point('a')\n    for b in a:\n        os.unlink(b)\n        crash_point('b')",
        "crash_point('a')\n    try: os.mkdir(a)\n    except OSError: return\n    crash_point('b')",
        "if a: return\n    crash_point('a'); os.unlink(a); crash_point('b')",
    ],
)
def test_the_rule_lets_pass_what_is_right(body: str) -> None:
    """Points on both sides of each path, or no effect at all."""
    assert not _bare_in(body)


def _bodies() -> Iterator[tuple[str, Module, ast.Module | Function]]:
    """(dotted name, module, itself) of each module's top and of each function."""
    for module in all_modules():
        yield module.name, module, module.tree
        yield from ((f"{module.name}.{body.name}", module, body) for body in functions(module.tree))


def _bare_in(body: str) -> bool:
    tree = ast.parse(f"flags = os.O_CREAT | os.O_EXCL\ndef f(a):\n    {body}\n")
    (function,) = functions(tree)
    return bool(bare(function, Module(path="planted.py", name="planted", tree=tree, line_count=0)))

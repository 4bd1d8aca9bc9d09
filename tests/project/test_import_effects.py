"""Importing a module opens nothing, starts nothing and reads no environment."""

import json
import subprocess
import sys

from tests.project.source import ROOT, all_modules

# Runs in a fresh interpreter. Everything foreign is loaded first, so that only our own doings are seen: an
# effect counts when the body of one of our modules (`<module>` in our tree) is on the stack.
PROGRAM = r"""
import importlib, json, os, sys
root, names, foreign = json.loads(sys.argv[1])
sys.path.insert(0, root)
for name in foreign:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
EFFECTS = ("socket.", "subprocess.", "sqlite3.connect", "os.fork", "os.exec", "os.spawn", "os.posix_spawn",
           "os.mkdir", "os.remove", "os.rename", "os.kill", "shutil.", "tempfile.", "_thread.start_new_thread")
CODE = (".py", ".pyc", ".so", ".pth", ".zip")
watching, found = False, []

def culprit():
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name:
            return None  # a library at work on a class of ours: pydantic asks for its plug-ins
        if frame.f_code.co_name == "<module>" and name.startswith(root + os.sep):
            return f"{os.path.relpath(name, root)}:{frame.f_lineno}"
        frame = frame.f_back
    return None

def audit(event, arguments):
    if not watching:
        return
    opened = event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith(CODE)
    if (opened or event.startswith(EFFECTS)) and (where := culprit()):
        found.append(f"{where}: {event} {arguments[:1]}")

class WatchedEnvironment(type(os.environ)):
    def __getitem__(self, name):
        if watching and (where := culprit()):
            found.append(f"{where}: reads the environment variable {name}")
        return super().__getitem__(name)

os.environ.__class__ = WatchedEnvironment
sys.addaudithook(audit)
sys.dont_write_bytecode = True
watching = True
for name in names:
    importlib.import_module(name)
watching = False
print(json.dumps(found))
"""
FOREIGN = [
    "alembic.command",
    "click",
    "psutil",
    "psycopg",
    "pydantic",
    "rich.console",
    "sqlalchemy",
    "asyncio",
    "sqlite3",
]
STARTS_ON_IMPORT = {"__main__"}  # `python -m` runs these; nobody imports them


def test_importing_a_module_does_nothing() -> None:
    """A program may import any part of outlive before it has set up its environment, and pays nothing."""
    names = [m.name for m in all_modules() if m.name.rpartition(".")[2] not in STARTS_ON_IMPORT]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([str(ROOT), names, FOREIGN])],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []

"""Runs real starts in the launcher's own process before it serves, so that every shim finds the interpreter warm.

CPython rewrites a function's code while it is new, and remembers each attribute on first sight. Written once, by the
launcher, all of that is shared by its shims: measured with Python 3.11, it saves each 80 of 385 faults and 0.5 ms.

A rehearsing launcher that is killed leaves a directory and perhaps an empty cgroup; the next one removes them.
"""

import contextlib
import os
import stat

from eventstore import crashpoints
from manager.process import cgroup, procfs, shim, syscalls
from manager.process.child import Defaults
from manager.process.features import features, is_disabled
from manager.process.frames import encode_request, take_content

_STARTS = 9  # Python 3.11 rewrites a function's code at its 8th call; 12 save no more
_PLACES = ("/dev/shm", "/tmp")  # noqa: S108 - made exclusively, private, and gone at once; in memory if it can be
_NAME = "rehearsal-"
_DIRECTORY = "outlive-" + _NAME


def rehearse(defaults: Defaults) -> None:
    """Start `true` a few times as a shim would, in a temporary directory; about 30 ms. Without one, do nothing.

    The caller leads a session and is as it was afterwards. It must have no children, for a shim ends what is left below
    it: if it has one, nothing is done. Nor where crash points or system calls are counted from the first real
    start: with ``OUTLIVE_CRASH`` or ``OUTLIVE_STOP``, or ``rehearsal`` in ``OUTLIVE_DISABLE``.
    """
    if crashpoints.is_armed() or is_disabled("rehearsal") or procfs.children_listed(os.getpid()) != []:
        return
    for place in _PLACES:
        _remove_stale(place)
        directory = f"{place}/{_DIRECTORY}{os.getpid()}"
        try:
            os.mkdir(directory, 0o700)
        except OSError:
            continue
        try:
            for number in range(_STARTS):
                _start(f"{directory}/{number}", defaults, in_cgroup=number == 0)
                if not os.path.exists(f"{directory}/{number}/exec.json"):
                    break  # out of processes or descriptors: a start that fails leaves its pipes to us
        except OSError:
            pass  # a full disk, say: shims are then as they are, somewhat larger
        finally:
            _remove(directory)
            if features().subreaper:
                syscalls.become_subreaper(False)
        return


def _start(attempt_dir: str, defaults: Defaults, *, in_cgroup: bool) -> None:
    request = {
        "attempt_dir": attempt_dir,
        "command": ["/bin/true"],
        "env": {},
        "token": f"{_NAME}{os.getpid()}",
        "cgroup": in_cgroup,
    }
    content = take_content(bytearray(encode_request(request)))
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        shim.run(content or b"", writer, defaults, features())
    finally:
        os.close(reader)


def _remove_stale(place: str) -> None:
    """Remove what launchers of ours that were killed in their rehearsal have left; their numbers name no process."""
    for name in _listed(place):
        if name.startswith(_DIRECTORY) and not os.path.exists(f"/proc/{name.removeprefix(_DIRECTORY)}"):
            with contextlib.suppress(OSError):
                found = os.lstat(f"{place}/{name}")
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    _remove(f"{place}/{name}")
                    own = features().cgroup
                    if own is not None:
                        cgroup.remove(cgroup.directory_of(own, name.removeprefix("outlive-")))


def _remove(directory: str) -> None:
    with contextlib.suppress(OSError):
        for attempt in _listed(directory):
            for name in _listed(f"{directory}/{attempt}"):
                os.unlink(f"{directory}/{attempt}/{name}")
            os.rmdir(f"{directory}/{attempt}")
        os.rmdir(directory)


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []

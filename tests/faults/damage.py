"""What can become of a file in an attempt's directory: each `Damage` is done to a real one, and can be undone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

RECORDS = ("spec", "identity", "exec", "main", "exit", "sweep")
STRANGER = 65534
MOST_BYTES = 1 << 30  # a larger one is not read whole


@dataclass(frozen=True)
class Damage:
    """Something done to the file `name` of an attempt; `do` gets the file's path, and another attempt's directory."""

    name: str
    what: str
    do: Callable[[Path, Path], object]
    is_harmless: bool = False  # what the file says is still as it was written

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


def cuts(name: str, size: int, step: int = 1) -> Iterator[Damage]:
    """The file cut at every `step`-th byte."""
    for end in range(0, size, step):
        yield Damage(name, f"cut at {end}", lambda path, _, end=end: os.truncate(path, end))  # type: ignore[misc]


def flips(name: str, size: int, step: int = 1) -> Iterator[Damage]:
    """Every `step`-th bit of the file changed."""
    for bit in range(0, size * 8, step):
        yield Damage(name, f"bit {bit} changed", lambda path, _, bit=bit: flip(path, bit))  # type: ignore[misc]


def flip(path: Path, bit: int) -> None:
    """Change one bit, in place."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def replacements(name: str) -> Iterator[Damage]:
    """Another thing in the file's place."""
    for what, do in REPLACEMENTS.items():
        yield Damage(name, what, do, is_harmless=what in HARMLESS)


def swaps(name: str) -> Iterator[Damage]:
    """Records that are intact, and in the wrong place."""
    file = f"{name}.json"
    yield Damage(
        file, "another attempt's, copied", lambda path, other: _put(path, (other / file).read_bytes())
    )
    yield Damage(file, "another attempt's, linked", lambda path, other: _link(path, other / file))
    for kind in RECORDS:
        if kind != name:
            yield Damage(
                file,
                f"the attempt's own {kind}.json",
                lambda path, _, kind=kind: _copy_own(path, kind),  # type: ignore[misc]
            )


def forgeries(name: str) -> Iterator[Damage]:
    """Records with a right checksum and the right attempt that lack something, or hold it in another form."""
    file = f"{name}.json"
    for key in KEYS[name]:
        yield Damage(file, f"without {key}", lambda path, _, key=key: rewrite(path, **{key: ...}))  # type: ignore[misc]
        yield Damage(file, f"{key} is a list", lambda path, _, key=key: rewrite(path, **{key: [[]]}))  # type: ignore[misc]


def rewrite(path: Path, **changes: object) -> None:
    """Change members of a record's body (`...` removes one) and give it the checksum that it then has."""
    body = json.loads(path.read_bytes())["body"]
    body.update(changes)
    body = {key: value for key, value in body.items() if value is not ...}
    content = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    path.write_bytes(b'{"body":%b,"crc32":"%08x"}\n' % (content, crc32(content)))


KEYS = {
    "spec": ("attempt_dir", "command", "env", "token"),
    "identity": ("attempt", "record", "pid", "start_ticks", "boot_id", "pidfd_inode", "shim_pid", "cgroup"),
    "exec": ("attempt", "record", "phase", "confirmed_at"),
    "main": ("attempt", "record", "kind", "code", "ended_at", "rusage"),
    "exit": ("attempt", "record", "kind", "code", "ended_at", "rusage"),
    "sweep": ("attempt", "record", "left", "complete"),
}


def _put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o600)


def _link(path: Path, target: Path) -> None:
    path.unlink()
    os.link(target, path)


def _copy_own(path: Path, kind: str) -> None:
    source = path.with_name(f"{kind}.json")
    _put(path, source.read_bytes() if source.is_file() else b"{}\n")


def _directory(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir(0o700)
    (path / "inside").touch()


def _symlink(path: Path, _: Path) -> None:
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    path.symlink_to(aside)


def _dangling(path: Path, _: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def _pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _socket(path: Path, _: Path) -> None:
    path.unlink()
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with closing(socket.socket(socket.AF_UNIX)) as end:
        end.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def _huge(path: Path, _: Path) -> None:
    os.truncate(path, 1 << 40)


def _own_link(path: Path, _: Path) -> None:
    os.link(path, path.with_name(f"{path.name}.second"))


REPLACEMENTS: dict[str, Callable[[Path, Path], object]] = {
    "removed": lambda path, _: path.unlink(),
    "empty": lambda path, _: os.truncate(path, 0),
    "garbage": lambda path, _: _put(path, os.urandom(64)),
    "another JSON document": lambda path, _: _put(path, b'{"body":{"pid":1,"code":0},"crc32":"00000000"}\n'),
    "a directory": _directory,
    "a symbolic link to it": _symlink,
    "a dangling symbolic link": _dangling,
    "a pipe": _pipe,
    "a socket": _socket,
    "huge": _huge,
    "a stranger's": lambda path, _: os.chown(path, STRANGER, STRANGER),
    "a second link to it": _own_link,
    "one more byte": lambda path, _: path.write_bytes(path.read_bytes() + b" "),
}
HARMLESS = frozenset({"a second link to it"})


def directory_damages() -> Iterator[Damage]:
    """What can become of the attempt's directory itself."""
    yield Damage(".", "removed", lambda path, _: shutil.rmtree(path))
    yield Damage(".", "another attempt's, linked", _linked_directory)
    yield Damage(".", "a file", _file_for_directory)
    yield Damage(".", "empty", _emptied)


def _linked_directory(path: Path, other: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(other)


def _file_for_directory(path: Path, _: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def _emptied(path: Path, _: Path) -> None:
    shutil.rmtree(path)
    path.mkdir(0o700)


def make_readable(home: Path) -> None:
    """Remove what somebody who reads whole files would wait for or choke on."""
    for path in [*home.glob("agents/*/*/*"), *home.glob("agents/*/*")]:
        if not os.path.lexists(path):
            continue  # it lay behind a link that was removed a moment ago
        found = path.lstat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) or found.st_size > MOST_BYTES:
            path.unlink()


class Kept:
    """A directory whose files can be put back, the same inodes under the same names."""

    def __init__(self, attempt: Path) -> None:
        self._attempt = attempt
        self._aside = attempt.parents[3] / "kept" / f"{attempt.parent.name}-{attempt.name}"
        self._aside.mkdir(parents=True)
        self._contents = {}
        for path in attempt.iterdir():
            os.link(path, self._aside / path.name)
            if path.suffix == ".json":
                self._contents[path.name] = path.read_bytes()

    def put_back(self) -> None:
        """As it was."""
        if self._attempt.is_symlink() or not self._attempt.is_dir():
            self._attempt.unlink()
            self._attempt.mkdir(0o700)
        for path in self._attempt.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in self._aside.iterdir():
            if path.name in self._contents:
                path.write_bytes(self._contents[path.name])
            os.chown(path, os.geteuid(), os.getegid())
            os.link(path, self._attempt / path.name)
        shutil.rmtree(self._aside)

"""What programs did to a directory, in order, from the system calls that strace saw them complete.

`strace -f -y -xx` prints names, descriptors' paths and data in hexadecimal, so nothing in them can be taken for syntax.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CALLS = (
    *("openat", "mkdir", "mkdirat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir"),
    "wait4",
)  # fmt: skip
Kind = Literal["create", "mkdir", "write", "append", "truncate", "rename", "link", "unlink", "sync", "tell"]
_LINE = re.compile(
    r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*?)(?:\) += (-?\d+|\?).*| <unfinished \.\.\.>)"
)
_WORD = re.compile(r'(\w+)<([^>]*)>|"((?:\\x[0-9a-f]{2})*)"|([^,\s"<>]+)')


@dataclass(frozen=True)
class Op:
    """One thing that was done to a path, or told to somebody outside (`tell`); `other` is a second path."""

    kind: Kind
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


def command(output: Path) -> list[str]:
    """The words before a command line that is to be recorded."""
    calls = ",".join(CALLS)
    return [
        *("strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "1000000"),
        *("-e", f"trace={calls}", "-o", str(output), "--"),
    ]


def read(output: Path, *, below: Path, tells: Sequence[str]) -> list[Op]:
    """What was done to paths below `below`, and what was written to the files `tells` ("pipe": to any pipe).

    Whoever reaps a process by its number tells "reaped" that number: nobody else can know its exit from then on.
    """
    found = []
    for name, words in _completed(output):
        if name == "wait4":
            found.append(Op("tell", "reaped", data=words[0][0].encode()))
            continue
        op = _op(name, words)
        if op is None:
            continue
        told = "pipe" if op.path.startswith("pipe:") else op.path
        if told in tells and op.data:
            found.append(Op("tell", told, data=op.data))
        elif op.path == str(below) or op.path.startswith(f"{below}/"):
            found.append(op)
        elif op.kind == "sync" and op.path == str(below.parent):
            found.append(op)  # of the name of `below` itself
    return found


def _completed(output: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(call, words) of each successful call in the order in which they were completed."""
    begun: dict[str, str] = {}
    with output.open(encoding="ascii") as lines:
        for line in lines:
            match = _LINE.fullmatch(line.rstrip("\n"))
            if match is None:
                continue
            thread, name, arguments, result = match.groups()
            arguments = begun.pop(thread, "") + arguments
            if result is None:
                begun[thread] = arguments
            elif result.isdigit():
                words = [
                    (descriptor or text or plain, _unhex(path or ""))
                    for descriptor, path, text, plain in _WORD.findall(arguments)
                ]
                yield name, words


def _op(name: str, words: list[tuple[str, str]]) -> Op | None:
    if name in ("write", "pwrite64"):
        offset = int(words[3][0]) if name == "pwrite64" else 0
        kind: Kind = "write" if name == "pwrite64" else "append"
        return Op(kind, words[0][1], "", offset, _bytes(words[1][0]))
    if name in ("fsync", "fdatasync"):
        return Op("sync", words[0][1])
    if name == "ftruncate":
        return Op("truncate", words[0][1], offset=int(words[1][0]))
    if name == "openat":
        flags = words[2][0].split("|")
        if "O_CREAT" not in flags and "O_TRUNC" not in flags:
            return None
        return Op("create", _join(words[0][1], words[1][0]), "O_TRUNC" if "O_TRUNC" in flags else "")
    paths = list(_paths(words))
    if name in ("mkdir", "mkdirat"):
        return Op("mkdir", paths[0])
    if name.startswith("rename"):
        return Op("rename", paths[0], paths[1])
    if name.startswith("link"):
        return Op("link", paths[0], paths[1])
    if name in ("unlink", "unlinkat", "rmdir"):
        return Op("unlink", paths[0])
    raise ValueError(f"cannot tell what {name} does")


def _paths(words: list[tuple[str, str]]) -> Iterator[str]:
    directory = ""
    for word, path in words:
        if path:
            directory = path
        elif word.startswith("\\x"):
            yield _join(directory, word)


def _join(directory: str, name: str) -> str:
    return os.path.join(directory, _unhex(name))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _unhex(text: str) -> str:
    return os.fsdecode(_bytes(text)) if text.startswith("\\x") else text

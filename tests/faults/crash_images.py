"""What a directory may look like after a power loss: every state of the disk that the syncs allow.

The model is stricter than the file systems in use. What was not synced, a write, a new size, a name, may be there or
not, each by itself; a write may be there cut at any 512 bytes. fsync of a file keeps its content and not its name,
fsync of a directory keeps the names in it.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.disk_trace import Op

SECTOR = 512
ROOT = 0


@dataclass(frozen=True)
class Effect:
    """An operation on nodes (files and directories by number) instead of paths; `group` is what it belongs to."""

    kind: str  # "name", "unname", "rename" in the directory `node`; "write", "truncate" of the file `node`; "sync"
    node: int
    group: str
    name: str = ""
    target: int = 0  # the node that gets the name
    is_directory: bool = False
    old: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class Image:
    """A state at the moment after the first `moment` operations: what of the unsynced is kept, the last one in part."""

    moment: int
    kept: frozenset[int]
    torn: tuple[int, int] | None = None  # (operation, bytes of it)


@dataclass
class Recording:
    """A run's operations on the directory `top`; the first `begun` of them made what was there before the run."""

    top: Path
    ops: Sequence[Op]
    begun: int = 0
    effects: dict[int, Effect] = field(default_factory=dict)  # by number of the operation

    def __post_init__(self) -> None:
        self._paths: dict[str, int] = {str(self.top.parent): ROOT}
        self._directories = {ROOT}
        self._ends: dict[int, int] = {}
        self._numbers = itertools.count(ROOT + 1)
        for number, op in enumerate(self.ops):
            effect = self._resolve(op)
            if effect is not None:
                self.effects[number] = effect

    # --- from paths to nodes ----------------------------------------------------------------------------------------

    def _resolve(self, op: Op) -> Effect | None:
        if op.kind == "tell":
            return None
        group = self._group(op.path)
        node = self._paths.get(op.path)
        if op.kind == "sync":
            return None if node is None else Effect("sync", node, group)
        if op.kind in ("create", "mkdir"):
            if node is not None:
                return Effect("truncate", node, group) if op.other == "O_TRUNC" else None
            node = next(self._numbers)
            if op.kind == "mkdir":
                self._directories.add(node)
            return self._name(op.path, node, group)
        if node is None:
            return None  # a file that has lost its name
        if op.kind in ("write", "append"):
            offset = self._ends.get(node, 0) if op.kind == "append" else op.offset
            self._ends[node] = max(self._ends.get(node, 0), offset + len(op.data))
            return Effect("write", node, group, offset=offset, data=op.data)
        if op.kind == "truncate":
            self._ends[node] = op.offset
            return Effect("truncate", node, group, offset=op.offset)
        if op.kind == "link":
            return self._name(op.other, node, group)
        parent, _, name = op.path.rpartition("/")
        del self._paths[op.path]
        if op.kind == "unlink":
            return Effect("unname", self._paths[parent], group, name)
        self._paths[op.other] = node
        return Effect("rename", self._paths[parent], group, op.other.rpartition("/")[2], node, old=name)

    def _name(self, path: str, node: int, group: str) -> Effect:
        parent, _, name = path.rpartition("/")
        self._paths[path] = node
        return Effect("name", self._paths[parent], group, name, node, node in self._directories)

    def _group(self, path: str) -> str:
        parts = Path(path).relative_to(self.top.parent).parts
        return "/".join(parts[1:3]) if parts[1:2] == ("agents",) and len(parts) > 2 else "home"

    # --- from moments to images -------------------------------------------------------------------------------------

    def unsynced(self, moment: int) -> list[int]:
        """The operations before `moment` that no sync covers."""
        pending: list[int] = []
        for number in range(moment):
            effect = self.effects.get(number)
            if effect is None:
                continue
            if effect.kind == "sync":
                pending = [one for one in pending if self.effects[one].node != effect.node]
            else:
                pending.append(number)
        return pending

    def images(self) -> Iterator[Image]:
        """Of each moment: what belongs to the operation's group in every way, all else kept, and all else lost."""
        seen: set[tuple[frozenset[int], int, tuple[int, int] | None]] = set()
        for number in range(self.begun, len(self.ops)):
            effect = self.effects.get(number)
            group = "home" if effect is None else effect.group
            pending = self.unsynced(number + 1)
            ours = [one for one in pending if self.effects[one].group == group]
            others = frozenset(pending) - frozenset(ours)
            synced = number + 1 - len(pending)
            for kept, torn in self._choices(ours):
                for more in (others, frozenset[int]()):
                    key = (kept | more, synced, torn)
                    if key not in seen:
                        seen.add(key)
                        yield Image(number + 1, kept | more, torn)

    def _choices(self, pending: Sequence[int]) -> Iterator[tuple[frozenset[int], tuple[int, int] | None]]:
        whole = frozenset(pending)
        for end in range(len(pending) + 1):
            yield frozenset(pending[:end]), None
        for one in pending:
            yield whole - {one}, None
            yield frozenset({one}), None
        for end, one in enumerate(pending, start=1):
            for size in self._cuts(one):
                yield frozenset(pending[:end]), (one, size)
                yield whole, (one, size)

    def _cuts(self, number: int) -> Iterator[int]:
        effect = self.effects[number]
        if effect.kind == "write":
            first = SECTOR - effect.offset % SECTOR
            yield from range(first, len(effect.data), SECTOR)

    # --- from images to files ---------------------------------------------------------------------------------------

    def build(self, image: Image, place: Path) -> None:
        """Make the directory as it is in the image, below `place`, which is there."""
        self._disk(image).write(ROOT, place)

    def digest(self, image: Image) -> bytes:
        """The same for images that differ in nothing that can be read."""
        return self._disk(image).digest(ROOT)

    def _disk(self, image: Image) -> _Disk:
        disk = _Disk()
        lost = frozenset(self.unsynced(image.moment)) - image.kept
        for number in range(image.moment):
            effect = self.effects.get(number)
            if effect is not None and number not in lost:
                size = image.torn[1] if image.torn is not None and image.torn[0] == number else None
                disk.apply(effect, size)
        return disk


class _Disk:
    """Files and directories by number."""

    def __init__(self) -> None:
        self._files: dict[int, bytearray] = {}
        self._directories: dict[int, dict[str, int]] = {ROOT: {}}

    def apply(self, effect: Effect, size: int | None) -> None:
        """Do it; only the first `size` bytes of a write."""
        if effect.kind in ("name", "rename"):
            names = self._directories.setdefault(effect.node, {})
            names.pop(effect.old, None)
            names[effect.name] = effect.target
            if effect.is_directory:
                self._directories.setdefault(effect.target, {})
        elif effect.kind == "unname":
            self._directories.setdefault(effect.node, {}).pop(effect.name, None)
        elif effect.kind == "write":
            self._file(effect)[effect.offset : effect.offset + len(effect.data[:size])] = effect.data[:size]
        elif effect.kind == "truncate":
            del self._file(effect)[effect.offset :]

    def _file(self, effect: Effect) -> bytearray:
        content = self._files.setdefault(effect.node, bytearray())
        content.extend(bytes(max(0, effect.offset - len(content))))
        return content

    def write(self, node: int, place: Path) -> None:
        """Make the directory's files below `place`."""
        for name, target in self._directories[node].items():
            if target in self._directories:
                (place / name).mkdir(mode=0o700)
                self.write(target, place / name)
            else:
                (place / name).write_bytes(self._files.get(target, b""))
                (place / name).chmod(0o600)

    def digest(self, node: int) -> bytes:
        """Of the names and contents in the directory."""
        told = hashlib.sha256()
        for name, target in sorted(self._directories[node].items()):
            is_directory = target in self._directories
            inner = (
                self.digest(target) if is_directory else hashlib.sha256(self._files.get(target, b"")).digest()
            )
            told.update(b"%d%s\0%s" % (is_directory, name.encode(), inner))
        return told.digest()


def spread(images: Sequence[Image], count: int, seed: int) -> list[Image]:
    """At most `count` of them, spread over the run, chosen by the seed."""
    if len(images) <= count:
        return list(images)
    chance = random.Random(seed)
    step = len(images) / count
    return [images[int(i * step + chance.random() * step)] for i in range(count)]

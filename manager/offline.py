"""Checking an export or a bundle by itself, without a home, as docs/log-format.md says that anybody can.

Both are strangers' files: whatever is in them is a finding, never a crash.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from eventstore import chain
from eventstore.chain import GENESIS, ORDER, Verdict
from eventstore.checkpoints import Checkpoint, Key, parse
from eventstore.errors import InvalidRequest, OutliveError
from eventstore.record import Head
from manager import exporting, signing
from manager.bundling import CHECKPOINT, EVENTS, LEAVES, MANIFEST, SIGNATURE, signed_bytes
from manager.bundling import SCHEMA as BUNDLE

MOST_BYTES = 4 << 30  # of a member of a bundle; its output is not even read into memory
_LEAF_BYTES = 32
_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    OSError,
    EOFError,
    tarfile.TarError,
)


class NotWhole(OutliveError):
    """A file is not what it was when it was written. `position` is the first bad one, where there is one."""

    def __init__(self, what: Path, why: str, *, position: int | None = None) -> None:
        self.position = position
        where = "" if position is None else f" from position {position} on"
        super().__init__(f"cannot trust {what}{where}: {why}")


class Twice(ValueError):
    """A JSON object has a name twice."""


class Found(NamedTuple):
    """A file that is whole: what it is, how many events it has, the last head that it proves, where it begins, who
    signed all of it, and the home of its first event (null: an export without any).

    `signed_by`: the id of a key whose holder says that all events are in it: of the log from the first to the last, or
    of the agent up to the checkpoint.
    """

    kind: str
    events: int
    head: Head
    checkpoint: Checkpoint | None
    agent: str | None = None
    start: int = 1
    signed_by: str | None = None
    home: str | None = None


def read(path: Path, *, key: Key | None = None) -> Found:
    """Check the export or bundle at `path`, and every signature in it; with `key` it must be signed with that.

    Raises `NotWhole`, and `InvalidRequest` for what is neither of them or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            found = _bundle(path, file) if start == b"\x1f\x8b" else _export(path, file)
    except OSError as error:
        raise InvalidRequest(
            f"cannot read {path}: {error.strerror or error}; name a bundle or an export"
        ) from error
    if key is not None and found.signed_by != key.id:
        raise NotWhole(
            path, f"it is {_signed(found)}, not by {key.id}: whoever made it could have left out the end"
        )
    return found


def heads(path: Path) -> Iterator[Head]:
    """What the log was known to be, at each event of an export or bundle that is whole, in order."""
    with path.open("rb") as file:
        is_bundle = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        kept = _members(path, file) if is_bundle else {}
        for line in kept[EVENTS].splitlines() if is_bundle else file:
            found = _object(path, line)
            if "stream" in found:
                row = _row(path, found)
                yield Head(row[0], row[17], row[5])
    checkpoint = parse(kept.get(CHECKPOINT, b""))
    if checkpoint is not None:
        yield checkpoint.head


def _export(path: Path, file: IO[bytes]) -> Found:
    lines = iter(file)
    line = next(lines, None)
    if line is None:
        raise NotWhole(path, "it is empty")
    first = _object(path, line, "its first line is no JSON: it is damaged, or no export in JSON lines")
    if first.get("schema") != exporting.SCHEMA:
        raise InvalidRequest(f"cannot check {path}: it is neither an export in JSON lines nor a bundle")
    last_at, home = 0, None
    end: dict[str, Any] = {}

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal last_at, home
        for line in lines:
            found = _object(path, line)
            if found.get("schema") == exporting.END_SCHEMA:
                end.update(found)
                return
            row = _row(path, found)
            last_at, home = row[5], home or found["home"]
            yield row

    try:
        start, before = int(first["from"]), bytes.fromhex(first["previous_hash"])
    except _ERRORS as error:
        raise NotWhole(path, "its first line does not say where it begins") from error
    if start == 1 and before != GENESIS:
        raise NotWhole(path, "something was before its first row", position=1)
    verdict = chain.verify(rows(), start=start, previous_hash=before)
    _require(path, verdict)
    if next(lines, None) is not None or end.get("events") != verdict.checked:
        raise NotWhole(
            path, "its last line is missing, or not about all of it", position=verdict.head_position + 1
        )
    last = verdict.head_position
    if (first.get("to"), end.get("position"), end.get("hash")) != (last, last, verdict.head_hash.hex()):
        raise NotWhole(path, "its first and last line are not about this", position=last)
    signer = None
    if (end.get("key"), end.get("signature")) != (None, None):
        message = exporting.signed_bytes(start, before, last, verdict.head_hash)
        signer = _require_signature(path, "last line", end.get("key"), end.get("signature"), message)
    head = Head(last, verdict.head_hash, last_at)
    return Found("export", verdict.checked, head, None, None, start, signer, home)


def _bundle(path: Path, file: IO[bytes]) -> Found:
    kept = _members(path, file)
    manifest = _object(path, kept[MANIFEST])
    _object(path, kept[CHECKPOINT])  # which has each name once
    checkpoint = parse(kept[CHECKPOINT])
    leaves = kept[LEAVES]
    rows = [_row(path, _object(path, line)) for line in kept[EVENTS].splitlines()]
    try:
        start, running = int(manifest["from"]), bytes.fromhex(manifest["previous_hash"])
        stream = f"agent/{manifest['agent']}".encode()
    except _ERRORS as error:
        raise NotWhole(path, "its manifest does not say where it begins") from error
    if checkpoint is None or start < 1 or not rows or (start == 1 and running != GENESIS):
        raise NotWhole(path, "it has no events, no checkpoint, or another beginning")
    if len(leaves) != (checkpoint.head.position - start + 1) * _LEAF_BYTES:
        raise NotWhole(path, "its leaves do not lead from its first event to its checkpoint")
    own = {row[0]: row for row in rows}
    are_in_order = list(own) == sorted(row[0] for row in rows) and len(own) == manifest.get("events")
    are_versions = [row[1] for row in rows] == list(range(1, len(rows) + 1))
    if not are_in_order or not are_versions or {row[8] for row in rows} != {stream}:
        raise NotWhole(path, "its events are not all of the agent's, in their order", position=rows[0][0])
    for number, position in enumerate(range(start, checkpoint.head.position + 1)):
        leaf = leaves[number * _LEAF_BYTES : (number + 1) * _LEAF_BYTES]
        before, running = running, chain.link(running, leaf)
        row = own.pop(position, None)
        if row is not None and (_leaf(row), *row[16:]) != (leaf, before, running):
            raise NotWhole(path, "the event does not give its hashes", position=position)
    if own:
        raise NotWhole(path, "an event is not between its beginning and its checkpoint", position=min(own))
    if running != checkpoint.head.hash:
        raise NotWhole(path, "its events and leaves do not give the hash of its checkpoint", position=start)
    if (checkpoint.key, checkpoint.signature) != (None, None):
        _require_signature(path, CHECKPOINT, checkpoint.key, checkpoint.signature, checkpoint.message)
    signer = _signer(path, kept)
    home = checkpoint.home
    return Found("bundle", len(rows), checkpoint.head, checkpoint, manifest["agent"], start, signer, home)


def _signer(path: Path, kept: Mapping[str, bytes]) -> str | None:
    """The key that a bundle is signed with; None where it is not."""
    if SIGNATURE not in kept:
        return None
    found = _object(path, kept[SIGNATURE])
    message = signed_bytes(kept[MANIFEST])
    return _require_signature(path, SIGNATURE, found.get("key"), found.get("signature"), message)


def _require_signature(path: Path, member: str, key: object, signature: object, message: bytes) -> str:
    """The key, if the signature in a member is right. Raises `InvalidRequest` without the package to tell."""
    signer = signing.of_id(str(key))
    try:
        is_right = signer is not None and signer.is_signature(bytes.fromhex(str(signature)), message)
    except ValueError:
        is_right = False
    if signer is None or not is_right:
        raise NotWhole(path, f"its {member} has a false signature")
    return signer.id


def _signed(found: Found) -> str:
    return "not signed" if found.signed_by is None else f"signed by {found.signed_by}"


def _members(path: Path, file: IO[bytes]) -> dict[str, bytes]:
    """The members that a proof is made of; the size and digest of each member are as the manifest says."""
    kept: dict[str, bytes] = {}
    sums: dict[str, dict[str, Any]] = {}
    try:
        with gzip.GzipFile(fileobj=file) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                if member.name in sums or not member.isreg() or member.size > MOST_BYTES:
                    raise NotWhole(path, f"its member {member.name!r} is there twice, no file, or too large")
                content = archive.extractfile(member)
                assert content is not None
                digest, copy = sha256(), io.BytesIO()
                while piece := content.read(1 << 20):
                    digest.update(piece)
                    if "/" not in member.name:
                        copy.write(piece)
                kept[member.name] = copy.getvalue()
                sums[member.name] = {"size": member.size, "sha256": digest.hexdigest()}
            while packed.read(1 << 20):  # to its end, where its checksum is
                pass
    except _ERRORS as error:
        raise NotWhole(path, f"it is damaged: {error}") from error
    manifest = _object(path, kept.get(MANIFEST, b""))
    for name in (MANIFEST, SIGNATURE):  # which can hold no digest of themselves
        sums.pop(name, None)
    if manifest.get("schema") != BUNDLE or manifest.get("files") != sums:
        raise NotWhole(path, "its members are not those of its manifest")
    if not {EVENTS, CHECKPOINT, LEAVES} <= sums.keys():
        raise NotWhole(path, "a member is missing")
    return kept


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `Twice` for a name that is there twice: programs differ in which of the values they see."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise Twice(f"a line has {twice!r} twice, and nobody can say which one counts")
    return found


def _object(path: Path, line: bytes, else_: str = "a line is no JSON") -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_once)
    except Twice as error:
        raise NotWhole(path, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise NotWhole(path, else_) from error
    if not isinstance(found, dict):
        raise NotWhole(path, "a line is no object")
    return found


def _row(path: Path, found: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row as `chain.verify` takes it."""
    try:
        values = [found[name] for name in ORDER]
        texts = [text if text is None else text.encode() for text in values[7:]]
        hashes = bytes.fromhex(found["previous_hash"]), bytes.fromhex(found["hash"])
    except _ERRORS as error:
        raise NotWhole(path, "a row lacks a column, or has one of another kind") from error
    if not all(type(number) is int for number in values[:6]):
        raise NotWhole(path, "a row lacks a column, or has one of another kind")
    return (*values[:7], *texts, *hashes)


def _leaf(row: tuple[Any, ...]) -> bytes | None:
    try:
        return chain.leaf(row)
    except (struct.error, TypeError):
        return None


def _require(path: Path, verdict: Verdict) -> None:
    if not verdict.is_intact:
        raise NotWhole(path, f"{verdict.problem}: {verdict.detail}", position=verdict.position)

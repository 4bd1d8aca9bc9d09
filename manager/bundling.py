"""One agent's history in one file, with what proves that it is in the log: see docs/log-format.md.

Of the rows of others only the leaf hashes are in it, 32 bytes each, from the agent's first event to a checkpoint.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

from eventstore import chain
from eventstore.checkpoints import Checkpoint, Key
from eventstore.reader import Reader
from eventstore.record import RecordedEvent
from manager.attemptsecrets import redactor_of
from manager.exporting import row_json
from manager.newfile import NewFile

SCHEMA = "outlive.bundle/1"
MANIFEST, EVENTS, LEAVES, CHECKPOINT = "manifest.json", "events.jsonl", "leaves.bin", "checkpoint.json"
SAMPLES, SIGNATURE = "samples.jsonl", "signature.json"
OUTPUT_BYTES = 16 << 20  # of each stream of each attempt, from its end

_SAMPLE = ("agent_id", "attempt", "sampled_at", "cpu_percent", "memory_bytes", "threads", "processes")


def write(
    file: NewFile,
    reader: Reader,
    agent: str,
    *,
    checkpoint: Checkpoint,
    outputs: Iterable[tuple[str, Path]],
    key: Key | None = None,
) -> dict[str, Any]:
    """Write the bundle of an agent whose last event is not after `checkpoint`; its manifest.

    `outputs`: name within the bundle, and the file of the output, which may be missing. The holder of `key`
    says by it that these are all of the agent's events up to the checkpoint; hashes alone cannot.
    """
    rows = list(reader.events(stream=f"agent/{agent}", until=checkpoint.head.position))
    start = rows[0].position
    members = {
        EVENTS: "".join(f"{json.dumps(row_json(row))}\n" for row in rows).encode(),
        LEAVES: b"".join(_leaves(reader, start, checkpoint.head.position)),
        CHECKPOINT: json.dumps(checkpoint.as_json()).encode() + b"\n",
        SAMPLES: "".join(_samples(reader, agent)).encode(),
    }
    for name, path in outputs:
        content = _tail(path)
        if content is not None:
            shown = redactor_of(path.parent).output(content.decode("utf-8", "surrogateescape"))
            members[name] = shown.encode("utf-8", "surrogateescape")
    manifest = {
        "schema": SCHEMA,
        "agent": agent,
        "home": checkpoint.home,
        "from": start,
        "previous_hash": rows[0].previous_hash.hex(),
        "events": len(rows),
        "files": {
            name: {"size": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in members.items()
        },
    }
    text = json.dumps(manifest, indent=1).encode() + b"\n"
    if key is not None and key.sign is not None:
        signed = {"key": key.id, "signature": key.sign(signed_bytes(text)).hex()}
        members[SIGNATURE] = json.dumps(signed).encode() + b"\n"
    with (
        gzip.GzipFile(fileobj=cast("IO[bytes]", file), mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in {MANIFEST: text, **members}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return manifest


def signed_bytes(manifest: bytes) -> bytes:
    """What is signed of a bundle: its schema, and the digest of `manifest.json` as it stands, a line each."""
    return f"{SCHEMA}\n{sha256(manifest).hexdigest()}\n".encode()


def output_files(home: Path, agent: str) -> Iterator[tuple[str, Path]]:
    """The output of each attempt of an agent, by its name in a bundle."""
    for directory in sorted((home / "agents" / agent).glob("*")):
        if re.fullmatch(r"[1-9][0-9]*", directory.name):
            for stream in ("stdout.log", "stderr.log"):
                yield f"output/{directory.name}/{stream}", directory / stream


def _leaves(reader: Reader, start: int, until: int) -> Iterator[bytes]:
    for row in reader.events(after=start - 1, until=until):
        yield leaf_of(row)


def leaf_of(row: RecordedEvent) -> bytes:
    """The leaf hash of a row."""
    values = (getattr(row, name) for name in chain.ORDER)
    return chain.leaf([value.encode() if isinstance(value, str) else value for value in values])


def _samples(reader: Reader, agent: str) -> Iterator[str]:
    query = f"SELECT {', '.join(_SAMPLE)} FROM samples WHERE agent_id = ? ORDER BY attempt, sampled_at"  # noqa: S608
    for row in reader.rows(query, (agent,)):
        yield f"{json.dumps(dict(zip(_SAMPLE, row, strict=True)))}\n"


def _tail(path: Path) -> bytes | None:
    """The end of a regular file of ours; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        file.seek(max(0, size - OUTPUT_BYTES))
        content = file.read(OUTPUT_BYTES)
    # Half a line may hold half a secret, which nobody would know for one.
    return content.partition(b"\n")[2] if size > OUTPUT_BYTES else content

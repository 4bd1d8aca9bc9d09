"""A verifier of exports, bundles and checkpoints by somebody else: written from `docs/log-format.md` alone.

    python stranger.py FILE [PUBLIC-KEY-IN-HEX]

Standard library only; imports nothing of outlive. Prints what it found as JSON, exit 0; or why not, exit 1.
"""

import hashlib
import json
import sys
import tarfile
from typing import Any, NoReturn

NUMBERS = ("position", "version", "schema_version", "epoch", "occurred_at", "recorded_at", "attempt")
TEXTS = ("event_id", "stream", "type", "home", "host", "actor", "correlation_id", "causation_id", "data")
ZEROS = "00" * 32


def wrong(why: str) -> NoReturn:
    """Say why, and leave."""
    print(why)
    sys.exit(1)


def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, no name of which is there twice."""
    found = dict(members)
    return found if len(found) == len(members) else wrong("a name is there twice")


def parsed(text: str | bytes) -> Any:
    """JSON, as it may stand in a file."""
    return json.loads(text, object_pairs_hook=once)


def field(value: int | str | None) -> bytes:
    """One value as it is hashed."""
    if value is None:
        return b"\xff\xff\xff\xff"
    raw = value.to_bytes(8, "big") if isinstance(value, int) else value.encode("utf-8")
    return len(raw).to_bytes(4, "big") + raw


def leaf_of(row: dict[str, Any]) -> str:
    """The leaf of a row, in hex."""
    return hashlib.sha256(b"\x00" + b"".join(field(row[name]) for name in NUMBERS + TEXTS)).hexdigest()


def after(previous: str, leaf: str) -> str:
    """The hash of a row, in hex."""
    return hashlib.sha256(b"\x01" + bytes.fromhex(previous) + bytes.fromhex(leaf)).hexdigest()


# --- Ed25519, as RFC 8032 writes it down -----------------------------------------------------------------------

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int, int, int]


def add(a: Point, b: Point) -> Point:
    """The sum of two points in extended coordinates."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    return (f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P


def times(scalar: int, point: Point) -> Point:
    """A multiple of a point."""
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decode(raw: bytes) -> Point | None:
    """The point in 32 bytes."""
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def is_signature(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is right."""
    point, first = decode(key), decode(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    base = decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    if len(signature) != 64 or point is None or first is None or base is None or scalar >= Q:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    left = times(scalar, base)
    right = add(first, times(int.from_bytes(digest, "little") % Q, point))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


# --- the files ---------------------------------------------------------------------------------------------------


def check_checkpoint(found: dict[str, Any], key: str | None) -> None:
    """The signature, where there is one or one is asked for."""
    if key is not None and found["key"] != key:
        wrong("not signed with that key")
    if found["key"] is not None:
        lines = (found["schema"], found["position"], found["hash"], found["time"], found["home"])
        message = "".join(f"{line}\n" for line in lines).encode()
        if not is_signature(bytes.fromhex(found["key"]), message, bytes.fromhex(found["signature"])):
            wrong("false signature")


def check_end(first: dict[str, Any], last: dict[str, Any], key: str | None) -> None:
    """The signature of an export, where there is one or one is asked for."""
    if key is not None and last.get("key") != key:
        wrong("the export is not signed with that key")
    if "key" in last:
        lines = (first["schema"], first["from"], first["previous_hash"], last["position"], last["hash"])
        message = "".join(f"{line}\n" for line in lines).encode()
        if not is_signature(bytes.fromhex(last["key"]), message, bytes.fromhex(last["signature"])):
            wrong("false signature of the export")


def check_signature(manifest: bytes, member: bytes | None, key: str | None) -> None:
    """That of a bundle, where there is one or one is asked for."""
    found: dict[str, Any] = {"key": None} if member is None else parsed(member)
    if key is not None and found["key"] != key:
        wrong("the bundle is not signed with that key")
    if member is not None:
        message = f"outlive.bundle/1\n{hashlib.sha256(manifest).hexdigest()}\n".encode()
        if not is_signature(bytes.fromhex(found["key"]), message, bytes.fromhex(found["signature"])):
            wrong("false signature of the bundle")


def check_export(lines: list[bytes], key: str | None) -> dict[str, Any]:
    """An export by itself."""
    first, *rows, last = (parsed(line) for line in lines)
    if last.get("schema") != "outlive.export.end/1":
        wrong("cut off")
    running, expected, recorded_at = first["previous_hash"], first["from"], 0
    if expected == 1 and running != ZEROS:
        wrong("does not begin with zeros")
    versions: dict[str, int] = {}
    for row in rows:
        known = versions.get(row["stream"], 0 if first["from"] == 1 else row["version"] - 1)
        if row["position"] != expected or row["version"] != known + 1 or row["recorded_at"] < recorded_at:
            wrong(f"order at {expected}")
        if row["previous_hash"] != running or row["hash"] != after(running, leaf_of(row)):
            wrong(f"hash at {expected}")
        versions[row["stream"]], recorded_at = row["version"], row["recorded_at"]
        running, expected = row["hash"], expected + 1
    if (last["events"], last["position"], last["hash"]) != (len(rows), expected - 1, running):
        wrong("last line")
    if first["to"] != expected - 1:
        wrong("first line")
    check_end(first, last, key)
    return {"events": len(rows), "position": expected - 1, "hash": running}


def check_bundle(path: str, key: str | None) -> dict[str, Any]:
    """A bundle by itself."""
    members: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if not member.isreg() or content is None or member.name in members:
                wrong("strange member")
            members[member.name] = content.read()
    text, signed = members.pop("manifest.json"), members.pop("signature.json", None)
    manifest = parsed(text)
    sums = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    if manifest["schema"] != "outlive.bundle/1" or manifest["files"] != sums:
        wrong("members")
    checkpoint = parsed(members["checkpoint.json"])
    leaves, start, running = members["leaves.bin"].hex(), manifest["from"], manifest["previous_hash"]
    rows = [parsed(line) for line in members["events.jsonl"].splitlines()]
    if len(leaves) != 64 * (checkpoint["position"] - start + 1) or (start == 1 and running != ZEROS):
        wrong("leaves")
    positions = [row["position"] for row in rows]
    if (
        positions != sorted(set(positions))
        or not start <= positions[0] <= positions[-1] <= checkpoint["position"]
    ):
        wrong("positions")
    if [row["version"] for row in rows] != list(range(1, len(rows) + 1)) or manifest["events"] != len(rows):
        wrong("versions")
    if {row["stream"] for row in rows} != {f"agent/{manifest['agent']}"}:
        wrong("stream")
    own = dict(zip(positions, rows, strict=True))
    for number, position in enumerate(range(start, checkpoint["position"] + 1)):
        leaf = leaves[64 * number : 64 * number + 64]
        before, running = running, after(running, leaf)
        row = own.get(position)
        if row is not None and (leaf_of(row), row["previous_hash"], row["hash"]) != (leaf, before, running):
            wrong(f"event at {position}")
    if running != checkpoint["hash"]:
        wrong("not the log of the checkpoint")
    check_checkpoint(checkpoint, None)
    check_signature(text, signed, key)
    return {"events": len(rows), "position": checkpoint["position"], "hash": running}


def main(path: str, key: str | None = None) -> None:
    """Check one file."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\x1f\x8b":
        print(json.dumps(check_bundle(path, key)))
        return
    lines = content.splitlines()
    schema = parsed(lines[0])["schema"]
    if schema == "outlive.export/1":
        print(json.dumps(check_export(lines, key)))
    elif schema == "outlive.checkpoint/1":
        for line in lines:
            check_checkpoint(parsed(line), key)
        print(json.dumps({"checkpoints": len(lines)}))
    else:
        wrong("unknown")


if __name__ == "__main__":
    main(*sys.argv[1:])

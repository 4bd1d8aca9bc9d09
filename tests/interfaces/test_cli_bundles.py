"""Bundles that were changed, cut or signed by somebody else: what both verifiers say."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interfaces.kept import Kept, json_of, ours, outlive_in, stranger

MEMBERS = Callable[[dict[str, bytes]], None]


def _rewritten(path: Path, change: MEMBERS, to: Path, *, is_signed: bool = False) -> Path:
    """The bundle with other members, and a manifest that fits them; `is_signed`: with the signature that it had."""
    with tarfile.open(path) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    manifest = json.loads(members.pop("manifest.json"))
    signature = members.pop("signature.json", b"")
    change(members)
    manifest["events"] = len(members["events.jsonl"].splitlines())
    manifest["files"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != "signature.json"
    }
    with gzip.open(to, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        members = {"manifest.json": json.dumps(manifest, indent=1).encode() + b"\n", **members}
        for name, content in (members | ({"signature.json": signature} if is_signed else {})).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return to


def _swap(name: str, old: bytes, new: bytes) -> MEMBERS:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[name]
        members[name] = members[name].replace(old, new, 1)

    return change


def _without_an_event(members: dict[str, bytes]) -> None:
    lines = members["events.jsonl"].splitlines(keepends=True)
    members["events.jsonl"] = b"".join(lines[:1] + lines[2:])


def _without_the_last_event(members: dict[str, bytes]) -> None:
    members["events.jsonl"] = b"".join(members["events.jsonl"].splitlines(keepends=True)[:-1])


def _with_a_leaf_changed(members: dict[str, bytes]) -> None:
    leaves = members["leaves.bin"]
    members["leaves.bin"] = leaves[:-1] + bytes([leaves[-1] ^ 1])


def _with_a_leaf_less(members: dict[str, bytes]) -> None:
    members["leaves.bin"] = members["leaves.bin"][:-32]


CHANGES: dict[str, MEMBERS] = {
    "an exit code is changed": _swap("events.jsonl", b'\\"code\\":3', b'\\"code\\":0'),
    "a time is changed": _swap("events.jsonl", b'"occurred_at": 1', b'"occurred_at": 2'),
    "a hash is changed": _swap("events.jsonl", b'"hash": "', b'"hash": "00'),
    "an event is left out": _without_an_event,
    "a name is there twice": _swap("events.jsonl", b'"actor": ', b'"actor": "nobody", "actor": '),
    "a name of its checkpoint is there twice": _swap(
        "checkpoint.json", b'"home": ', b'"home": "another", "home": '
    ),
    "a leaf is changed": _with_a_leaf_changed,
    "a leaf is left out": _with_a_leaf_less,
    "the checkpoint is of another log": _swap("checkpoint.json", b'"hash": "', b'"hash": "00'),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bundle_that_was_changed_is_found(kept: Kept, tmp_path: Path, case: str) -> None:
    """Although its members have the digests that its manifest says."""
    path = _rewritten(kept.bundle, CHANGES[case], tmp_path / "changed.tar.gz")
    assert ours(path) is not None
    assert not stranger(path)[0]


def test_a_bundle_rewritten_as_it_was_is_whole(kept: Kept, tmp_path: Path) -> None:
    """So that the cases above are about their change."""
    path = _rewritten(kept.bundle, lambda members: None, tmp_path / "same.tar.gz", is_signed=True)
    assert ours(path) is None
    assert stranger(path, kept.id)[0]


def test_a_bundle_whose_end_was_cut_off_passed_as_whole(kept: Kept, tmp_path: Path) -> None:
    """Its hashes fit all the same: with the signature it is found, without one that is what is said of it."""
    signed, bare = (
        _rewritten(kept.bundle, _without_the_last_event, tmp_path / name, is_signed=name == "signed")
        for name in ("signed", "bare")
    )
    assert "false signature" in str(ours(signed))
    assert not stranger(signed)[0]
    code, out = outlive_in(kept, "verify", "--bundle", str(bare))
    assert (code, out.splitlines()[1]) == (0, "not signed: whoever made it could have left out the end")
    assert json_of(kept, "verify", "--bundle", str(bare))["signed_by"] is None
    assert outlive_in(kept, "verify", "--bundle", str(bare), "--key", kept.id)[0] == 6
    assert (stranger(bare)[0], stranger(bare, kept.id)[0]) == (True, False)
    code, out = outlive_in(kept, "verify", "--bundle", str(kept.bundle), "--key", kept.id)
    assert (code, out.splitlines()[1].partition(", ")[2]) == (0, f"signed by {kept.id}")


@pytest.mark.parametrize("member", ["checkpoint.json", "signature.json"])
@pytest.mark.parametrize("key", ["00", "/etc/passwd", None, 7])
def test_a_signature_by_what_is_no_key_is_false(
    kept: Kept, tmp_path: Path, member: str, key: str | int | None
) -> None:
    """Nothing in a bundle names a file to be read."""

    def change(members: dict[str, bytes]) -> None:
        found = json.loads(members.get(member, b'{"signature": "00"}'))
        members[member] = json.dumps(found | {"key": key}).encode()

    path = _rewritten(kept.bundle, change, tmp_path / "changed.tar.gz")
    assert ours(path) is not None


def test_a_checkpoint_with_a_false_signature_is_found(kept: Kept, tmp_path: Path) -> None:
    """Its fields say the same, and it was not signed so."""
    change = _swap("checkpoint.json", b'"time": "20', b'"time": "21')
    path = _rewritten(kept.bundle, change, tmp_path / "changed.tar.gz")
    assert "checkpoint.json has a false signature" in str(ours(path))
    assert not stranger(path)[0]


@pytest.mark.parametrize("cut", [0, 1, 2, 30, 500, -40, -1])
def test_a_bundle_that_was_cut_is_found(kept: Kept, tmp_path: Path, cut: int) -> None:
    """At any length: an error in our words."""
    (tmp_path / "cut").write_bytes(kept.bundle.read_bytes()[:cut])
    assert ours(tmp_path / "cut") is not None

"""Keys, checkpoints, exports and bundles by the real command; and a verifier that shares no code agrees with ours."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore.errors import OutliveError
from manager import offline
from manager.cli.main import main
from manager.exporting import guarded
from tests.interfaces.command_line import CommandLine

STRANGER = Path(__file__).with_name("stranger.py")
MEMBERS = Callable[[dict[str, bytes]], None]


def _outlive(kept: Kept, *arguments: str) -> tuple[int, str]:
    """A command that reads, in this process: its exit code and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = main(["--home", str(kept.outlive.home), *arguments])
    return code, out.getvalue()


def _json(kept: Kept, *arguments: str) -> Any:
    code, out = _outlive(kept, *arguments, "--json")
    assert code == 0, out
    return json.loads(out)


class Kept:
    """A home with two agents that have ended, the first before the second, and all that can be made of it."""

    def __init__(self, directory: Path) -> None:
        self.outlive = CommandLine(home=directory / "home", directory=directory)
        self.key, self.export, self.bundle = (
            directory / name for name in ("key.pem", "log.jsonl", "a.tar.gz")
        )
        self.id = self.outlive.json("keys", "new", str(self.key))["key"]
        variables = {"OUTLIVE_SIGNING_KEY": str(self.key)}
        for name, code in (("a", 3), ("b", 0)):
            program = f"echo from {name}; sleep 0.2; exit {code}"
            done = self.outlive(
                "run", "--name", name, "--start-window", "0s", "--", "sh", "-c", program, **variables
            )
            assert done.returncode == 0, done.stderr
            assert self.outlive("wait", name, **variables).returncode == code
        self.told = self.outlive.json("export", "--output", str(self.export))
        done = self.outlive("bundle", "a", "--output", str(self.bundle), **variables)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Made once; nobody changes it."""
    return Kept(tmp_path_factory.mktemp("kept"))


def _stranger(path: Path, *key: str) -> tuple[bool, str]:
    done = subprocess.run(
        [sys.executable, "-I", STRANGER, path, *key], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode == 0, done.stdout


def _ours(path: Path) -> str | None:
    try:
        offline.read(path)
    except OutliveError as error:
        return str(error)
    return None


def test_both_verifiers_agree_on_what_is_whole(kept: Kept) -> None:
    """Export, bundle and checkpoints: counted alike, with the same head; signatures as well."""
    log = _json(kept, "verify", "--key", kept.id)
    assert log["checkpoints"]["count"] == log["checkpoints"]["signed"] >= 4
    export = _json(kept, "verify", "--bundle", str(kept.export))
    bundle = _json(kept, "verify", "--bundle", str(kept.bundle), "--key", kept.id)
    for told, found in ((export, _stranger(kept.export)), (bundle, _stranger(kept.bundle, kept.id))):
        assert found == (True, json.dumps({"events": told["checked"], **told["head"]}) + "\n")
    assert _stranger(kept.outlive.home / "checkpoints.jsonl", kept.id)[0]
    assert bundle["head"]["position"] < log["head"]["position"]


def test_a_home_is_held_against_what_was_kept(kept: Kept, tmp_path: Path) -> None:
    """Checkpoints, an export and a bundle of the same log agree; those of another do not."""
    for path in (kept.export, kept.bundle, kept.outlive.home / "checkpoints.jsonl"):
        assert _json(kept, "verify", "--against", str(path))["intact"]
    other = Kept(tmp_path)
    for path in (other.export, other.bundle):
        code, out = _outlive(kept, "verify", "--against", str(path))
        assert code == 6
        assert "another log" in out
    assert _outlive(kept, "verify", "--against", str(other.outlive.home / "checkpoints.jsonl"))[0] == 2
    assert _outlive(kept, "verify", "--key", other.id)[0] == 6


def test_from_a_checkpoint(kept: Kept) -> None:
    """What follows the newest checkpoint that the log agrees with, and a new one has nothing after it."""
    line = _json(kept, "checkpoint", "--key", str(kept.key))
    found = _json(kept, "verify", "--from-checkpoint", "--key", kept.id)
    assert (found["checked"], found["from_checkpoint"]["position"]) == (0, line["position"])
    assert found["from_checkpoint"] == line


def test_the_digest_is_of_the_file(kept: Kept) -> None:
    """What export and bundle print."""
    assert kept.told["sha256"] == hashlib.sha256(kept.export.read_bytes()).hexdigest()
    assert _outlive(kept, "export", "--output", str(kept.export))[0] == 1  # it is not written over
    assert not list(kept.export.parent.glob(".*.partial"))


def test_other_programs_read_it(kept: Kept) -> None:
    """CloudEvents have what 1.0 requires; no cell of a CSV is a formula, and all the others are as they were."""
    rows = [json.loads(line) for line in kept.export.read_text().splitlines()[1:-1]]
    events = [
        json.loads(line) for line in _outlive(kept, "export", "--format", "cloudevents")[1].splitlines()
    ]
    assert [event["id"] for event in events] == [row["event_id"] for row in rows]
    for event in events:
        assert {"specversion", "id", "source", "type"} <= event.keys()
        assert all(name.isalnum() and name == name.lower() for name in event)
        assert all(isinstance(value, str) for name, value in event.items() if name != "data")
    table = list(csv.DictReader(io.StringIO(_outlive(kept, "export", "--format", "csv")[1])))
    assert [row["data"] for row in table] == [row["data"] for row in rows]
    assert (
        _outlive(kept, "export", "--from", "3", "--to", "4")[1].splitlines()[1:-1]
        == (kept.export.read_text().splitlines()[3:5])
    )


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """Whatever a stranger called a host or gave as a reason."""
    assert guarded(cell) == f"'{cell}"
    assert (guarded("1=1"), guarded(7), guarded(None)) == ("1=1", 7, None)


def test_every_flipped_bit_of_an_export_is_found(kept: Kept, tmp_path: Path) -> None:
    """By the one and by the other, wherever it is."""
    content, path = kept.export.read_bytes(), tmp_path / "flipped"
    for at in range(0, len(content), 1 + len(content) // 400):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert _ours(path) is not None, content[max(0, at - 20) : at + 20]
        if at % 40 == 0:
            assert not _stranger(path)[0]


def _rewritten(path: Path, change: MEMBERS, to: Path) -> Path:
    """The bundle with other members, and a manifest that fits them."""
    with tarfile.open(path) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    manifest = json.loads(members.pop("manifest.json"))
    change(members)
    manifest["files"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    with gzip.open(to, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
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
    "the last event is left out": _without_the_last_event,
    "a leaf is changed": _with_a_leaf_changed,
    "a leaf is left out": _with_a_leaf_less,
    "the checkpoint is of another log": _swap("checkpoint.json", b'"hash": "', b'"hash": "00'),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bundle_that_was_changed_is_found(kept: Kept, tmp_path: Path, case: str) -> None:
    """Although its members have the digests that its manifest says."""
    path = _rewritten(kept.bundle, CHANGES[case], tmp_path / "changed.tar.gz")
    assert _ours(path) is not None
    assert not _stranger(path)[0]


def test_a_bundle_rewritten_as_it_was_is_whole(kept: Kept, tmp_path: Path) -> None:
    """So that the cases above are about their change."""
    path = _rewritten(kept.bundle, lambda members: None, tmp_path / "same.tar.gz")
    assert _ours(path) is None
    assert _stranger(path, kept.id)[0]


def test_a_checkpoint_with_a_false_signature_is_found(kept: Kept, tmp_path: Path) -> None:
    """Its fields say the same, and it was not signed so."""
    change = _swap("checkpoint.json", b'"time": "20', b'"time": "21')
    path = _rewritten(kept.bundle, change, tmp_path / "changed.tar.gz")
    assert main(["verify", "--bundle", str(path), "--key", kept.id]) == 6
    assert not _stranger(path)[0]


@pytest.mark.parametrize("cut", [0, 1, 2, 30, 500, -40, -1])
def test_a_bundle_that_was_cut_is_found(kept: Kept, tmp_path: Path, cut: int) -> None:
    """At any length: an error in our words."""
    (tmp_path / "cut").write_bytes(kept.bundle.read_bytes()[:cut])
    assert _ours(tmp_path / "cut") is not None


def test_nothing_secret_is_in_a_bundle(kept: Kept, tmp_path: Path) -> None:
    """Environment values are in no member, nor any file of a home but the agent's own output."""
    outlive = CommandLine(home=tmp_path / "home", directory=tmp_path)
    outlive("run", "--name", "s", "--env", "TOKEN=hunter2hunter2", "--start-window", "0s", "--", "true")
    outlive("wait", "s")
    path = tmp_path / "s.tar.gz"
    done = outlive("bundle", "s", "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert b"hunter2" not in gzip.decompress(path.read_bytes())
    assert b"hunter2" not in outlive("export").stdout.encode()


def test_a_key_is_for_its_owner(kept: Kept, tmp_path: Path) -> None:
    """Not in the home, never over another, 0600, and refused where others may read it."""
    assert kept.key.stat().st_mode & 0o777 == 0o600
    assert main(["keys", "new", str(kept.key)]) == 1
    assert main(["--home", str(tmp_path), "keys", "new", str(tmp_path / "key.pem")]) == 2
    loose = tmp_path / "loose.pem"
    loose.write_bytes(kept.key.read_bytes())
    loose.chmod(0o644)
    assert main(["keys", "show", str(loose)]) == 1
    done = kept.outlive("checkpoint", OUTLIVE_SIGNING_KEY=str(loose))
    assert done.returncode == 1
    assert "chmod 600" in done.stderr
    pem = _outlive(kept, "keys", "public", str(kept.key))[1]
    (tmp_path / "public.pem").write_text(pem)
    assert _json(kept, "keys", "show", str(tmp_path / "public.pem"))["key"] == kept.id
    assert main(["--home", str(kept.outlive.home), "checkpoint", "--key", str(tmp_path / "public.pem")]) == 1

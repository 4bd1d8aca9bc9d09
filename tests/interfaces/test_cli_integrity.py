"""Keys, checkpoints, exports and bundles by the real command; and a verifier that shares no code agrees with ours."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest

from manager.cli.main import main
from manager.exporting import guarded
from tests.interfaces.command_line import CommandLine
from tests.interfaces.kept import Kept, at, json_of, ours, outlive_in, stranger


def test_both_verifiers_agree_on_what_is_whole(kept: Kept) -> None:
    """Export, bundle and checkpoints: counted alike, with the same head; signatures as well."""
    log = json_of(kept, "verify", "--key", kept.id)
    assert log["checkpoints"]["count"] == log["checkpoints"]["signed"] >= 4
    export = json_of(kept, "verify", "--bundle", str(kept.export), "--key", kept.id)
    bundle = json_of(kept, "verify", "--bundle", str(kept.bundle), "--key", kept.id)
    for told, found in ((export, stranger(kept.export, kept.id)), (bundle, stranger(kept.bundle, kept.id))):
        assert found == (True, json.dumps({"events": told["checked"], **told["head"]}) + "\n")
    assert stranger(kept.outlive.home / "checkpoints.jsonl", kept.id)[0]
    assert bundle["head"]["position"] < log["head"]["position"]


def test_a_home_is_held_against_what_was_kept(kept: Kept, tmp_path: Path) -> None:
    """Checkpoints, an export and a bundle of the same log agree; those of another do not."""
    for path in (kept.export, kept.bundle, kept.outlive.home / "checkpoints.jsonl"):
        assert json_of(kept, "verify", "--against", str(path))["intact"]
    assert outlive_in(kept, "verify", "--key", kept.id.upper())[0] == 0


def test_what_is_of_another_home_was_no_checkpoint_or_another_log(kept: Kept, tmp_path: Path) -> None:
    """A file of another home is told as one, whatever it is, and the key of another home as not the one used here."""
    other = Kept(tmp_path)
    ours, theirs = (json.loads((one.outlive.home / "home.json").read_text())["home"] for one in (kept, other))
    for path in (other.export, other.bundle, other.outlive.home / "checkpoints.jsonl"):
        code, out = outlive_in(kept, "verify", "--against", str(path))
        wanted = (
            f"{path} is of the home {theirs}, and {kept.outlive.home} is {ours}; give a file of this home"
        )
        assert (code, wanted in out) == (6, True), out
    code, out = outlive_in(kept, "verify", "--key", other.id)
    wanted = f"is signed with the key {other.id}, but some are with {kept.id}"
    assert (code, wanted in out) == (6, True), out


def test_an_id_that_was_cut_off_was_a_missing_file(kept: Kept, tmp_path: Path) -> None:
    """What looks like an id and is none is told as that, and what is no key as that."""
    code, out = outlive_in(kept, "verify", "--key", kept.id[:-1])
    assert (code, "the id of a key, which has 64 hex digits, not 63" in out) == (1, True), out
    (tmp_path / "junk").write_text("junk")
    for name, why in (("junk", "it holds no key in PEM"), ("none", "No such file or directory")):
        code, out = outlive_in(kept, "verify", "--key", str(tmp_path / name))
        assert (code, why in out) == (1, True), out


def test_from_a_checkpoint(kept: Kept) -> None:
    """What follows the newest checkpoint that the log agrees with, and a new one has nothing after it."""
    line = json_of(kept, "checkpoint", "--key", str(kept.key))
    found = json_of(kept, "verify", "--from-checkpoint", "--key", kept.id)
    assert (found["checked"], found["from_checkpoint"]["position"]) == (0, line["position"])
    assert found["from_checkpoint"] == line


def test_the_digest_is_of_the_file(kept: Kept) -> None:
    """What export and bundle print."""
    assert kept.told["sha256"] == hashlib.sha256(kept.export.read_bytes()).hexdigest()
    assert outlive_in(kept, "export", "--output", str(kept.export))[0] == 1  # it is not written over
    assert not list(kept.export.parent.glob(".*.partial"))


def test_other_programs_read_it(kept: Kept) -> None:
    """CloudEvents have what 1.0 requires; no cell of a CSV is a formula, and all the others are as they were."""
    rows = [json.loads(line) for line in kept.export.read_text().splitlines()[1:-1]]
    events = [
        json.loads(line) for line in outlive_in(kept, "export", "--format", "cloudevents")[1].splitlines()
    ]
    assert [event["id"] for event in events] == [row["event_id"] for row in rows]
    for event in events:
        assert {"specversion", "id", "source", "type"} <= event.keys()
        assert all(name.isalnum() and name == name.lower() for name in event)
        assert all(isinstance(value, str) for name, value in event.items() if name != "data")
    table = list(csv.DictReader(io.StringIO(outlive_in(kept, "export", "--format", "csv")[1])))
    assert [row["data"] for row in table] == [row["data"] for row in rows]
    assert (
        outlive_in(kept, "export", "--from", "3", "--to", "4")[1].splitlines()[1:-1]
        == (kept.export.read_text().splitlines()[3:5])
    )


def test_an_export_whose_end_was_cut_off_passed_as_whole(kept: Kept, tmp_path: Path) -> None:
    """Its last line can be made anew by anybody: what was signed is told from what was not, to a pipe as well."""
    shorter = outlive_in(kept, "export", "--to", "5")[1].splitlines(keepends=True)
    signature = kept.export.read_text().splitlines()[-1].partition('"key"')[2]
    cut = tmp_path / "cut"
    cut.write_text("".join(shorter))
    assert json_of(kept, "verify", "--bundle", str(cut))["signed_by"] is None
    assert outlive_in(kept, "verify", "--bundle", str(cut), "--key", kept.id)[0] == 6
    assert (stranger(cut)[0], stranger(cut, kept.id)[0]) == (True, False)
    cut.write_text("".join(shorter[:-1]) + shorter[-1].replace("}", f',"key"{signature}'))
    assert "its last line has a false signature" in str(ours(cut))
    assert not stranger(cut)[0]
    cut.write_text(outlive_in(kept, "export", "--from", "3", "--to", "5", "--key", str(kept.key))[1])
    code, out = outlive_in(kept, "verify", "--bundle", str(cut), "--key", kept.id)
    assert (code, out.splitlines()[1]) == (0, f"all from 3 to 5, signed by {kept.id}")
    assert stranger(cut, kept.id)[0]
    assert outlive_in(kept, "export", "--format", "csv", "--key", str(kept.key))[0] == 2


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """Whatever a stranger called a host or gave as a reason."""
    assert guarded(cell) == f"'{cell}"
    assert (guarded("1=1"), guarded(7), guarded(None)) == ("1=1", 7, None)


def test_every_flipped_bit_of_an_export_is_found(kept: Kept, tmp_path: Path) -> None:
    """By the one and by the other, wherever it is."""
    content, path = kept.export.read_bytes(), tmp_path / "flipped"
    for number, place in enumerate(range(0, len(content), 1 + len(content) // 100)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert ours(path) is not None, content[max(0, place - 20) : place + 20]
        if number % 10 == 0:
            assert not stranger(path)[0]


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
    pem = outlive_in(kept, "keys", "public", str(kept.key))[1]
    (tmp_path / "public.pem").write_text(pem)
    assert json_of(kept, "keys", "show", str(tmp_path / "public.pem"))["key"] == kept.id
    assert main(["--home", str(kept.outlive.home), "checkpoint", "--key", str(tmp_path / "public.pem")]) == 1


def test_checkpoints_that_are_gone_from_their_disk(outlive: CommandLine) -> None:
    """A start says so and goes on, `verify` fails; `checkpoint` begins anew, and says that it does."""
    disk = outlive.directory / "disk"
    disk.mkdir()
    variables = {"OUTLIVE_CHECKPOINTS": str(disk / "kept.jsonl")}
    words = ("run", "--start-window", "0s", "--", "true")
    assert outlive(*words, **variables).stderr == ""
    disk.rename(outlive.directory / "away")
    for _ in range(2):
        done = outlive(*words, **variables)
        assert (done.returncode, "were written and are gone from" in done.stderr) == (0, True), done.stderr
    done = outlive("verify", **variables)
    assert (done.returncode, "were written and are gone from" in done.stderr) == (6, True), done.stderr
    (outlive.directory / "away").rename(disk)
    assert outlive("verify", **variables).returncode == 0
    assert outlive(*words, **variables).stderr == ""
    (disk / "kept.jsonl").unlink()
    done = outlive("checkpoint", **variables)
    assert (done.returncode, "were written and are gone from" in done.stderr) == (0, True), done.stderr
    assert outlive("verify", **variables).returncode == 0
    assert outlive(*words, **variables).stderr == ""


def test_what_no_signature_answers_for_was_not_told(kept: Kept, tmp_path: Path) -> None:
    """Signed checkpoints may be removed and others written: with a key it is said how far the signed ones go."""
    home = tmp_path / "home"
    shutil.copytree(kept.outlive.home, home)
    path = home / "checkpoints.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    bare = [line | {"key": None, "signature": None} for line in lines[2:]]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines[:2], *bare]))
    code, out = at(home, "verify", "--key", kept.id)
    assert (code, f"2 of them signed by {kept.id}, up to position {lines[1]['position']}" in out) == (
        0,
        True,
    ), out
    found = json.loads(at(home, "verify", "--key", kept.id, "--json")[1])["checkpoints"]
    assert (found["signed"], found["signed_to"]) == (2, lines[1]["position"])


def test_a_false_signature_went_unnoticed_without_a_key(kept: Kept, tmp_path: Path) -> None:
    """Every signature is checked with the key that its line names; one that is wrong makes the line no evidence."""
    assert json_of(kept, "verify")["checkpoints"]["signed_by"] == [kept.id]
    home = tmp_path / "home"
    shutil.copytree(kept.outlive.home, home)
    path = home / "checkpoints.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["signature"] = lines[0]["signature"]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for key in ((), ("--key", kept.id)):
        code, out = at(home, "verify", *key)
        assert (code, out.count(f"1 checkpoint in {path} with a false signature of the key {kept.id}")) == (
            6,
            1,
        ), out
    found = json.loads(at(home, "verify", "--json")[1].splitlines()[0])["checkpoints"]
    assert found["count"] == found["signed"] == len(lines) - 1


def test_a_log_without_its_head_was_told_to_run_what_said_so(kept: Kept, tmp_path: Path) -> None:
    """`verify` says what to do, and not to run `verify`."""
    home = tmp_path / "home"
    shutil.copytree(kept.outlive.home, home)
    (home / "head").unlink()
    code, out = at(home, "verify")
    assert (code, "put a copy of that file back" in out, "outlive verify" in out) == (6, True, False), out

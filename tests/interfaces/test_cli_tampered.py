"""Commands that show or hand on what a log says, on one that was tampered with: they say so."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import chain
from eventstore.reader import Reader
from manager.bundling import leaf_of
from tests.faults.store_damage import by_sql
from tests.interfaces.kept import Kept, at

pytestmark = pytest.mark.damages

EXIT = "UPDATE events SET data = replace(data, '\"code\":3', '\"code\":0') WHERE position = {};"
NO_JSON = "UPDATE events SET data = '[' WHERE position = {};"
CUT = "DELETE FROM events WHERE position > {};"


@pytest.fixture
def home(kept: Kept, tmp_path: Path) -> Path:
    """A copy of a home whose agents have ended."""
    shutil.copytree(kept.outlive.home, tmp_path / "home")
    return tmp_path / "home"


def _position(home: Path, kind: str) -> int:
    rows = [json.loads(line) for line in at(home, "events", "a", "--json")[1].splitlines()]
    found: int = next(row["position"] for row in rows if row["type"] == kind)
    return found


def _tampered(home: Path, script: str, kind: str = "ZOMBIE_REAPED") -> int:
    position = _position(home, kind)
    by_sql("", script.format(position)).do(home)
    return position


@pytest.mark.parametrize("form", ["jsonl", "cloudevents", "csv"])
@pytest.mark.parametrize("script", [EXIT, NO_JSON])
def test_a_tampered_log_was_exported_as_if_it_were_whole(home: Path, form: str, script: str) -> None:
    """No file is left, no last line is written, and what is before it can be had."""
    position = _tampered(home, script)
    path = home.parent / "export"
    wanted = f"cannot export the log: from position {position} on it is not what was written"
    code, out = at(home, "export", "--format", form, "--output", str(path))
    assert (code, wanted in out, list(home.parent.iterdir())) == (6, True, [home])
    code, out = at(home, "export", "--format", form)
    assert (code, wanted in out, "export.end" in out) == (6, True, False)
    assert at(home, "export", "--to", str(position - 1), "--output", str(path))[0] == 0
    assert at(home, "verify", "--bundle", str(path))[0] == 0


def test_a_log_without_its_end_was_exported_as_if_it_were_whole(home: Path) -> None:
    """It is refused, and so is a bundle, which would be signed; what is there can be asked for."""
    position = _tampered(home, CUT)
    path = home.parent / "export"
    for words in (("export", "--output", str(path)), ("bundle", "a", "--output", str(path))):
        code, out = at(home, *words)
        assert (code, f"it ends at {position}, and the log had come to" in out, path.exists()) == (
            6,
            True,
            False,
        )
    assert at(home, "export", "--to", str(position), "--output", str(path))[0] == 0


def test_why_believed_events_that_were_changed(home: Path) -> None:
    """It answers, and says on stderr, in its proof and in its JSON that the event is not what was written."""
    assert json.loads(at(home, "why", "a", "--json")[1])["proof"]["wrong"] is None
    position = _tampered(home, EXIT)
    warning = f"the event at position {position} is not what was written"
    for form in ("text", "markdown", "html"):
        code, out = at(home, "why", "a", "--format", form)
        assert (code, out.count(warning)) == (0, 2), out
    code, out = at(home, "why", "a", "--json")
    assert (code, out.count(warning)) == (0, 1)
    assert json.loads(out.splitlines()[-1])["proof"]["wrong"] == position
    assert "not what was written" not in at(home, "why", "b")[1]


def test_why_believed_an_event_whose_hash_was_made_to_fit(home: Path) -> None:
    """The row after it, another's perhaps, still names the hash that it had."""
    position = _tampered(home, "UPDATE events SET actor = 'nobody' WHERE position = {};", "FAILED")
    with closing(Reader.open(f"sqlite:///{home}/events.db")) as reader:
        [row] = reader.events(after=position - 1, until=position)
    fitting = chain.link(row.previous_hash, leaf_of(row))
    by_sql("", f"UPDATE events SET hash = x'{fitting.hex()}' WHERE position = {position};").do(home)
    assert json.loads(at(home, "why", "a", "--json")[1].splitlines()[-1])["proof"]["wrong"] == position


def test_why_failed_on_an_event_that_is_no_json(home: Path) -> None:
    """Damage, with its position; no error of ours."""
    position = _tampered(home, NO_JSON)
    code, out = at(home, "why", "a")
    assert (code, f"cannot read the event at position {position}" in out) == (6, True), out


@pytest.mark.parametrize("change", ["CREATE VIEW {} AS {}", "CREATE TABLE {} AS {}", ""])
@pytest.mark.parametrize("mend", [("rebuild",), ("db", "upgrade")])
def test_reports_said_what_somebody_had_made_their_views_say(
    home: Path, mend: tuple[str, ...], change: str
) -> None:
    """A view that is another, a table of its name or gone: reports refuse, all that check tell, it is put back."""
    before = at(home, "report", "failures", "--json")
    with closing(sqlite3.connect(home / "events.db")) as database:
        [(text,)] = database.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'report_attempts'"
        ).fetchall()
        query = text.partition(" AS ")[2].replace("outcome,", "'COMPLETED' AS outcome,", 1)
        assert query in text.replace("outcome,", "'COMPLETED' AS outcome,", 1)
        database.executescript(f"DROP VIEW report_attempts; {change.format('report_attempts', query)}")
    wanted = "somebody has replaced or removed the views report_attempts"
    for words, code in ((("report", "failures"), 6), (("verify",), 6), (("doctor",), 1)):
        found = at(home, *words)
        assert (found[0], wanted in " ".join(found[1].split())) == (code, True), found
    assert wanted in at(home, "sql", "SELECT * FROM report_attempts")[1]
    assert at(home, *mend)[0] == 0
    assert (at(home, "verify")[0], at(home, "report", "failures", "--json")[0]) == (0, before[0])

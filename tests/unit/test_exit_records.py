"""What a shim's exit record says is what is concluded of it: nothing is made up, whatever it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventstore.values import Exit, ExitedBySignal, ExitedWithCode, ExitUnknown
from manager.observe import exit_record
from manager.process.attempt_dir import AttemptFiles, encode

BODY: dict[str, Any] = {
    "attempt": "agent/1", "record": "exit", "kind": "code", "code": 0, "signal": None, "core": False,
    "phase": None, "errno": None, "message": None, "ended_at": 1_700_000_000_000_000,
    "started_boottime_ns": 1, "ended_boottime_ns": 2, "rusage": None, "oom_kills": None,
}  # fmt: skip
UNSEEN = {"kind": "unknown", "code": None, "message": "the shim found its child already reaped"}


@pytest.mark.parametrize(
    ("told", "concluded"),
    [
        ({}, ExitedWithCode(code=0)),
        ({"code": 7}, ExitedWithCode(code=7)),
        ({"kind": "signal", "code": None, "signal": 11, "core": True}, ExitedBySignal(signal=11, core_dumped=True)),
        (UNSEEN, ExitUnknown(reason=UNSEEN["message"] or "", not_before_at=None, not_after_at=BODY["ended_at"])),
    ],
    ids=["code 0", "code 7", "signal 11", "unknown"],
)  # fmt: skip
@pytest.mark.parametrize("is_shim_alive", [True, False])
def test_an_exit_is_what_its_record_says(
    tmp_path: Path, told: dict[str, Any], concluded: Exit, is_shim_alive: bool
) -> None:
    """An end that the shim did not see either is unknown, and no code."""
    place = tmp_path / "agent" / "1"
    place.mkdir(parents=True)
    (place / "exit.json").write_bytes(encode({**BODY, **told}))
    found = exit_record(AttemptFiles(str(place)), is_shim_alive=is_shim_alive)
    assert found is not None
    assert found.exit == concluded

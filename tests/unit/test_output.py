"""The last lines of an output, where the secret that is in it is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from manager.output import MARGIN_BYTES, TAIL_BYTES, tail
from manager.redaction import MARK, Redactor

SECRET = "0123456789abcdefghijklmn"


@pytest.mark.parametrize("shift", range(0, len(SECRET), 5))
@pytest.mark.parametrize("between", ["", " ", "ü"])
def test_a_secret_at_the_cut_of_the_kept_output_was_shown(tmp_path: Path, shift: int, between: str) -> None:
    """One line of the same secret over and over: redacted it is short, so that where it was cut was shown."""
    output = Redactor.of({"API_TOKEN": SECRET}).output
    file = tmp_path / "stdout.log"
    file.write_text((SECRET + between) * 2_000 + "." * shift)
    (line,) = tail(file, 10, output)
    assert MARK in line
    assert not [part for part in (SECRET[at : at + 4] for at in range(len(SECRET) - 3)) if part in line]


def test_a_key_that_began_before_the_cut_was_shown(tmp_path: Path) -> None:
    """What redacts it is long before the kept end."""
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"] * (MARGIN_BYTES // 33 + TAIL_BYTES // 66))
    file = tmp_path / "stderr.log"
    file.write_text(f"{'x' * 80}\n-----BEGIN PRIVATE KEY-----\n{body}")
    assert tail(file, 10, Redactor().output)[-1] == MARK
    file.write_text(f"{'x' * 800}\n-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\nsaid")
    assert tail(file, 10, Redactor().output)[-1] == "said"
    assert "MII" not in "".join(tail(file, 10, Redactor().output))


def test_what_is_in_the_kept_end_is_shown_whole(tmp_path: Path) -> None:
    """Lines of a long output, the last ones, as they are."""
    file = tmp_path / "stdout.log"
    file.write_text("".join(f"line {number}\n" for number in range(5_000)))
    assert tail(file, 3, Redactor().output) == ("line 4997", "line 4998", "line 4999")

"""The statements of `outlive db grants` are run as they are printed: no name may be more than a name."""

from __future__ import annotations

import pytest

from eventstore.errors import InvalidRequest
from eventstore.grants import grants


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\0b", "", "x" * 64, "é" * 32])
def test_names_that_no_role_can_have_were_passed_on(name: str) -> None:
    """Controls, nothing at all, and what PostgreSQL would cut off."""
    for names in ({"application": name, "reader": "r"}, {"application": "a", "reader": name}):
        with pytest.raises(InvalidRequest, match="1 to 63 printable bytes"):
            list(grants("public", **names))
    with pytest.raises(InvalidRequest):
        list(grants(name, application="a", reader="r"))


def test_a_quotation_mark_ends_no_name() -> None:
    """It is doubled."""
    assert all('"a""b"' in line for line in list(grants("public", application='a"b', reader="r"))[:3])

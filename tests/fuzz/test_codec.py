"""Whatever a row of the log holds, reading it gives an event, an unknown one that is kept, or an error of ours."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.codec import UnknownEvent, decode, encode
from eventstore.errors import StoreDamaged
from eventstore.events import EVENT_TYPES
from tests.fuzz.hostile import distorted, values
from tests.support.histories import coordinator_samples, samples
from tests.support.tally import Tally

TRUE: dict[str, list[dict[str, Any]]] = {}
for _event in (*samples(), *coordinator_samples()):
    TRUE.setdefault(_event.TYPE, []).append(json.loads(encode(_event)[2]))
versions = st.integers(-2, 4) | st.sampled_from([10**40, -(10**40)])
raw = (
    st.text(max_size=60) | values.map(json.dumps) | st.sampled_from(["[" * 5000, "9" * 5000, '{"a":' * 1500])
)


def _read(kind: str, version: int, text: str) -> None:
    with contextlib.suppress(StoreDamaged):
        event = decode(kind, version, text)
        if isinstance(event, UnknownEvent):
            assert (event.type, event.schema_version, event.data) == (kind, version, text)
        else:
            assert decode(*encode(event)) == event


@pytest.mark.parametrize("kind", sorted(TRUE))
def test_every_row_of_a_known_type_is_an_event_or_damage(kind: str, tally: Tally) -> None:
    """Fields that lack, are too many, or hold something else."""

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(distorted(TRUE[kind]))
    def examples(body: dict[str, Any]) -> None:
        tally("fuzz rows of the log")
        _read(kind, EVENT_TYPES[kind].SCHEMA_VERSION, json.dumps(body))

    examples()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(TRUE)) | st.text(max_size=10), versions, raw)
def test_any_text_is_an_event_or_damage(kind: str, version: int, text: str) -> None:
    """Text that is no JSON, has no bottom, or is of a version that never was."""
    _read(kind, version, text)


def test_an_old_row_without_a_bottom_is_damage() -> None:
    """Brackets nested deeper than Python reads, in a row that is to be upcast."""
    with pytest.raises(StoreDamaged):
        decode("FAILED", 1, "[" * 5000)

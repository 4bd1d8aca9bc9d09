"""How far a log can be pruned: no agent's history is cut, and none that may go on is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.pruning import Bound, Span, bound

ENDED, LIVING, LATER = Span("a", 2, 5, True), Span("b", 7, 9, False), Span("c", 4, 12, True)


@pytest.mark.parametrize(
    ("wanted", "spans", "expected"),
    [
        (10, [], Bound(10, None)),
        (10, [ENDED], Bound(10, None)),
        (4, [ENDED], Bound(1, "a")),
        (1, [ENDED], Bound(1, None)),
        (10, [ENDED, LIVING], Bound(6, "b")),
        (10, [ENDED, LATER], Bound(1, "a")),
        (12, [ENDED, LATER], Bound(12, None)),
        (3, [LIVING], Bound(3, None)),
        (10, [Span("d", 1, 3, False)], Bound(0, "d")),
    ],
)
def test_streams_go_whole_or_not_at_all(wanted: int, spans: list[Span], expected: Bound) -> None:
    """One that is kept keeps those that it overlaps with, too."""
    assert bound(wanted, spans) == expected


@given(
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9), st.booleans()), max_size=8),
)
def test_it_is_the_furthest_that_is_right(wanted: int, drawn: list[tuple[int, int, bool]]) -> None:
    """No position between it and what was wanted would have done."""
    spans = [
        Span(str(number), first, first + more, final) for number, (first, more, final) in enumerate(drawn)
    ]

    def is_right(position: int) -> bool:
        return all(span.first > position or (span.is_final and span.last <= position) for span in spans)

    found = bound(wanted, spans).position
    assert is_right(found)
    assert not any(map(is_right, range(found + 1, wanted + 1)))

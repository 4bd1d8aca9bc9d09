"""A regular expression that somebody typed, on lines that somebody else wrote."""

from __future__ import annotations

import re
import signal
import warnings
from types import FrameType

from eventstore.errors import InvalidRequest

SEARCHED_CHARACTERS = 4096  # of each line: the pattern is the user's own, the line is not
SEARCH_SECONDS = (
    2.0  # of the processor's time, for one line; nested repeats may take longer than anybody lives
)


class Search:
    """`--grep`. For the main thread. Raises `InvalidRequest` for what is no regular expression."""

    def __init__(self, pattern: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Python may make of it one day
                self._pattern = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidRequest(
                f"cannot search for {pattern[:100]!r}: {error}; give a Python regular expression"
            ) from error
        signal.signal(signal.SIGVTALRM, self._give_up)

    def finds(self, line: str) -> bool:
        """Whether it is in the line. Raises `InvalidRequest` where that takes longer than `SEARCH_SECONDS`."""
        signal.setitimer(signal.ITIMER_VIRTUAL, SEARCH_SECONDS)
        try:
            return self._pattern.search(line[:SEARCHED_CHARACTERS]) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _give_up(self, _number: int, _frame: FrameType | None) -> None:
        raise InvalidRequest(
            f"cannot search for {self._pattern.pattern[:100]!r}: one line takes more than {SEARCH_SECONDS:g} s; "
            "give an expression without repeats inside repeats"
        )

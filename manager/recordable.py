"""Texts as the log can keep them: what an event is made of must be recordable before anything is done about it."""

from __future__ import annotations

from eventstore.errors import InvalidRequest

MOST_CHARACTERS = 2_000  # of a reason; an event has 64 KiB for all of its texts


def recordable(text: str) -> str:
    r"""`text` with the bytes that are not UTF-8 (surrogates, as `os.fsdecode` makes them) and NUL as `\xNN`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def check_reason(reason: object) -> str | None:
    """A reason that somebody gave, in the form that the log keeps. Raises `InvalidRequest`."""
    if reason is None:
        return None
    if not isinstance(reason, str) or len(reason) > MOST_CHARACTERS:
        raise InvalidRequest(
            f"cannot record the reason: it is a text of at most {MOST_CHARACTERS} characters; shorten it"
        )
    try:
        return recordable(reason)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"cannot record the reason: {error}; give a text that UTF-8 has") from error

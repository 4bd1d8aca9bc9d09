"""Text from strangers (names, arguments, output of agents), made harmless for a terminal.

Control characters move the cursor, rename the window or answer in the user's name; bidi marks make a text read
otherwise than it is. Both are shown as escapes. JSON output needs none of this: it is written in ASCII.
"""

from __future__ import annotations

import re

# C0, DEL, C1 and the soft hyphen; Arabic letter mark, zero-width and bidi marks, line and paragraph separators,
# bidi embeddings and isolates, byte order mark, vowel separator, invisible tags
# (Unicode 15, general categories Cc and Cf, Zl, Zp).
_RANGES = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x180E, 0x180E),
    (0xE0000, 0xE007F),
)


_COLOURS = re.compile(r"(\x1b\[[0-9;:]{0,60}m)")
_PLAIN = "\x1b[0m"


def _escape(code: int) -> str:
    named = {9: "\\t", 10: "\\n", 13: "\\r"}
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return named.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


_ONE_LINE = {code: _escape(code) for first, last in _RANGES for code in range(first, last + 1)}
_OUTPUT = {code: text for code, text in _ONE_LINE.items() if code not in (9, 10)}


def one_line(text: str) -> str:
    r"""`text` for a table cell or a message: no line ends, no tabs, nothing a terminal would act on.

    Bytes that are not UTF-8 (surrogates, as `os.fsdecode` makes them) are shown as `\xNN`.
    """
    return _without_surrogates(text.translate(_ONE_LINE))


def output(text: str) -> str:
    """What an agent wrote: line ends and tabs stay, all else as `one_line`."""
    return _without_surrogates(text.translate(_OUTPUT))


def coloured(text: str) -> str:
    """A line as `output`, but that its own colours and styles are kept; they end with it."""
    pieces = _COLOURS.split(text)
    shown = "".join(piece if number % 2 else output(piece) for number, piece in enumerate(pieces))
    return shown + _PLAIN if len(pieces) > 1 else shown


def _without_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

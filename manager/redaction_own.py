"""The secrets that an agent was given, and the ways in which they may be written again. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping

from manager.redaction_rules import URL_PASSWORD, URL_TOKEN, is_secret_name

SHORTEST_LINE = 16  # of a secret of several lines, of which an output may hold some
SHORTEST_ENCODED = 8  # a shorter text in base64 is in everything
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986, 2.3
_WHOLE_PAIR = re.compile(
    r"(?:--?[A-Za-z][\w.-]{0,80}=)?-{0,2}(?P<name>[A-Za-z_][\w.-]{0,80})\s{0,4}(?:=>|:=|[=:])\s{0,4}(?P<secret>.+)",
    re.DOTALL,
)
_WHOLE_URL = re.compile(
    r"[\w.=-]{0,80}[A-Za-z][\w+.-]{0,40}://[^\s/:@'\"\[]*:(?!\d{1,5}/|x-oauth-basic@)(?P<secret>[^/]+(?=@)|.+(?=@)).*",
    re.DOTALL,
)


def secrets_of(env: Mapping[str, str]) -> set[str]:
    """Values of variables whose names or beginnings say so, and passwords in the URLs of the others."""
    found: set[str] = set()
    for name, value in env.items():
        whole = secret_of_whole(value)
        secrets = [value] if is_secret_name(name) else [whole["secret"]] if whole else []
        for secret in secrets:
            found.add(secret)
            found.update(line for line in secret.splitlines() if len(line) >= SHORTEST_LINE)
        if "://" in value:
            passwords = {
                match["secret"]
                for pattern in (URL_PASSWORD, URL_TOKEN)
                for match in re.finditer(pattern, value)
            }
            found |= passwords | {_unquoted(password) for password in passwords}
    return found


def secret_of_whole(text: str) -> re.Match[str] | None:
    """The `secret` of a text that stands alone: in `password: two words` all of the rest, in a URL its password."""
    pair = _WHOLE_PAIR.fullmatch(text)
    return pair if pair is not None and is_secret_name(pair["name"]) else _WHOLE_URL.fullmatch(text)


def as_written(secret: str) -> Iterator[str]:
    """A secret as it stands in URLs, in JSON, and in the base64 of a text that it is part of."""
    if not secret:
        return
    octets = secret.encode("utf-8", "surrogateescape")
    quoted = "".join(chr(octet) if chr(octet) in _UNRESERVED else f"%{octet:02X}" for octet in octets)
    yield from (quoted, quoted.replace("%2F", "/"), quoted.replace("%20", "+"))
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for before in range(3):  # octets before it, in a group of three
        begin, end = (before * 4 + 2) // 3, (before + len(octets)) * 8 // 6
        for alphabet in (b"+/", b"-_"):
            text = base64.b64encode(bytes(before) + octets, alphabet)[begin:end].decode("ascii")
            if len(text) >= SHORTEST_ENCODED:
                yield text


def _unquoted(text: str) -> str:
    octets = text.encode("utf-8", "surrogateescape")
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode("ascii")), octets)
    return octets.decode("utf-8", "surrogateescape")

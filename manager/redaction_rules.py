"""What counts as a secret, as data: names of variables and options, and texts. `manager.redaction` applies it."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

_SECRET = re.compile(
    r"auth|authorization|bearer|cookie|creds?|credentials?|jwt|otp|pass|passcode|pat|pwd?|signature|(?:php|j|asp)?sess(?:ion)?id"
    r"|\w*(?:password|passwd|passphrase|secret|token|api_?key|access_?key|secret_?key|private_?key)"
)
_HARMLESS_KEY = re.compile(r"public|primary|foreign|sort|partition|cache|group|index|row|host|hot|map")
_HARMLESS_ENDING = re.compile(
    r"age|algorithm|audience|count|dir|directory|email|enabled|endpoint|expiry|file|header|host|issuer|length|limit"
    r"|method|mode|name|path|policy|port|prefix|provider|realm|scope|size|sock|socket|timeout|ttl|type|uri|url|user"
    r"|username|version"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MAIL = r"acct|author|b?cc|by|committer|contact|e?-?mail(?:to)?|from|owner|reply-to|sender|sips?|to|xmpp"  # mailto:me@…
_NO_HOST = r"(?:sha\d{3}|md5):|v?\d+(?:\.\d+){0,2}(?![\w.])"  # but a digest: image:tag@sha256:…; a version: npm:x@1.2.3
# With a slash in it only where no port can be meant, and to the first @: http://host:80/a@b
URL_PASSWORD = r"://[^\s/:@'\"]*:(?!x-oauth-basic@)(?P<secret>[^\s/'\"]+(?=@)|(?!\d{1,5}/|(?<=\[:))[^\s@'\"]{1,200}(?=@))"
URL_TOKEN = r"(?i)https?://(?P<secret>[^\s/:@'\"]+(?=:x-oauth-basic@)|(?=[a-z_.~%+-]{0,80}\d)[\w.~%+-]{20,200}(?=:?@))"
MAY_MATCH = re.compile(
    r"[:=<_-]|eyJ|AIza|A[KS]IA|(?i:bearer|basic|token|apikey)"
)  # no rule matches a text without


def _is_basic(text: str) -> bool:
    """Whether that is `user:password` in base64, as RFC 7617 has it."""
    try:
        pair = binascii.a2b_base64(text, strict_mode=True).decode()
    except (ValueError, UnicodeDecodeError):
        return False
    return ":" in pair and pair.isprintable()


class Rule(NamedTuple):
    """The group `secret` is redacted; or, where there is a group `name` that says secret, the value that follows."""

    what: str
    example: str
    pattern: re.Pattern[str]
    only_with: str = ""  # in the text
    is_secret: Callable[[str], bool] | None = None  # whether what was found is one; any is, without it


RULES: tuple[Rule, ...] = (
    Rule(
        "private keys (PEM), whole or cut off",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
        re.compile(
            r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END).)*(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
            r"|(?<![^\n])(?:[A-Za-z0-9+/=]{1,80}\n){1,200}-----END [A-Z ]*PRIVATE KEY-----)",
            re.DOTALL,
        ),
        "PRIVATE KEY-----",
    ),
    Rule(
        "Authorization headers",
        "Authorization: Basic dXNlcjpwYXNz",
        re.compile(r"""(?i)\bauthorization["']?\s*[:=]\s*["']?(?P<secret>[^"'\r\n]+)"""),
    ),
    Rule(
        "cookies",
        "Cookie: session=8f14e45f",
        re.compile(r"""(?i)\bcookie["']?\s*:\s*["']?(?P<secret>[^"'\r\n]+)"""),
    ),
    Rule(
        "tokens in place of a user in URLs",
        "https://0a1b2c3d4e5f:x-oauth-basic@github.com",
        re.compile(URL_TOKEN),
        "://",
    ),
    Rule(
        "the secret part of webhooks (Slack, Discord)",
        "https://hooks.slack.com/services/T0/B0/Zx9",
        re.compile(
            r"(?:hooks\.slack\.com/[a-z]{1,20}|discord(?:app)?\.com/api/webhooks)/(?P<secret>[\w/-]+)"
        ),
        "hook",
    ),
    Rule(
        "signatures in URLs",
        "https://blob/x?sig=Yk3%3D&se=2026",
        re.compile(r"[?&](?i:sig|hmac)=(?P<secret>[^\s&#'\"]+)"),
        "=",
    ),
    Rule("passwords in URLs", "postgres://app:hunter2@db/app", re.compile(URL_PASSWORD), "://"),
    Rule(
        "passwords before @ and a host",
        "app:hunter2@db:5432",
        re.compile(
            rf"""(?:(?<![^\s"'=(,;<])|(?<![^\s"'=]//)(?<=//))(?!(?i:{_MAIL}):)[A-Za-z_][\w.+-]{{0,80}}+"""
            rf""":(?P<secret>(?!\d+@)[^\s:/'"]{{1,200}})@(?!{_NO_HOST})(?=[\w\[])"""
        ),
        "@",
    ),
    Rule(
        "values given to a secret name with = or :",
        "DB_PASSWORD=hunter2",
        re.compile(
            r"""(?<![\w.-])-{0,2}(?P<name>[A-Za-z_][\w.-]{0,80}+)\\{0,4}["']?\s{0,4}(?:=>|:=|[=:])\s{0,4}+"""
        ),
    ),
    Rule(
        "XML elements with a secret name",
        "<password>hunter2</password>",
        re.compile(
            r"<(?P<name>[A-Za-z_][\w.:-]{0,80}+)(?:\s[^<>]{0,200})?>(?P<secret>(?:<!\[CDATA\[)?[^<]+)(?=</|\]\]>|\Z)"
        ),
        "</",
    ),
    Rule(
        "values of options with a secret name",
        "login --password hunter2",
        re.compile(r"(?<![\w-])--?(?P<name>[A-Za-z][\w-]{1,80}+)\s++(?!-)"),
    ),
    Rule(
        "passwords behind -u and --user",
        "curl -u me:hunter2 https://example.org",
        re.compile(
            r"""(?<!\S)(?:-[uU]["']?|(?:-[A-Za-z]{1,5}(?<=[uU])|--user|--proxy-user)[\s=]["']?)"""
            r"""[^\s:"'=-][^\s:"'=]*+:(?P<secret>(?!//|\d+(?!\S))[^\s"']+)"""
        ),
    ),
    Rule(
        "bearer tokens",
        "bearer 2YotnFZFEjr1zCsicMWpAA",
        re.compile(r"(?i)\bbearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})"),
    ),
    Rule(
        "credentials of the scheme Basic",
        "basic dXNlcjpwYXNz",
        re.compile(r"(?i)\bbasic\s++(?P<secret>[A-Za-z0-9+/]{4,}={0,2})(?![\w+/=])"),
        is_secret=_is_basic,
    ),
    Rule(
        "what has 20 letters and digits or more, behind Token or ApiKey",
        "Token 9944b09199c62bcf9418ad846dd0e4bb",
        re.compile(
            r"(?i)\b(?:token|apikey)\s++(?P<secret>(?=[A-Za-z_~+=-]*\d)[A-Za-z0-9_~+=-]{20,})(?![\w/]|\.\w)"
        ),
    ),
    Rule(
        "tokens of well-known shapes (OpenAI, Anthropic, GitHub, GitLab, AWS, Slack, Google, Stripe, npm, PyPI, "
        "Hugging Face, JWT)",
        "ghp_" + "x" * 36,
        re.compile(
            r"\b(?P<secret>sk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|A[KS]IA[A-Z0-9]{16}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{30,}"
            r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}|hf_[A-Za-z0-9]{20,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
        ),
    ),
)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a variable, option or key of this name holds a secret: API_TOKEN, db-password, clientSecret, OPENAI_KEY.

    Not the names of what is beside a secret (TOKEN_FILE, auth-type), nor PWD, nor plurals (`--max-tokens`).
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or name in ("PWD", "OLDPWD", "XDG_SESSION_ID") or _HARMLESS_ENDING.fullmatch(words[-1]):
        return False
    if any(_SECRET.fullmatch(word) for word in words):
        return True
    if words[-2:] == ["session", "id"]:
        return True
    return words[-1] == "key" and len(words) > 1 and not _HARMLESS_KEY.fullmatch(words[-2])

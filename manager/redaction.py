"""Secrets in arguments, reasons, labels and output, shown as `[redacted]`. Pure.

Three kinds: what `manager.redaction_rules` knows, what the agent's owner adds (`AgentSpec.redact`), and the agent's own
secrets: what `manager.redaction_own` takes from its environment, and whatever a rule found in its arguments. The latter
are found wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manager.redaction_own import as_written, secret_of_whole, secrets_of
from manager.redaction_rules import MAY_MATCH, RULES, Rule, is_secret_name

MARK = "[redacted]"
SHORTEST_CONTAINED = 6  # a shorter own secret is redacted as a whole argument only: "1" is in everything
_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]+)")
_LONG_OPTION = re.compile(r"--[A-Za-z][\w-]*(=.*)?", re.DOTALL)
_SCHEME = re.compile(r"(?:.*[\s:=\"'])?(?P<scheme>bearer|basic|token|apikey)\s*", re.DOTALL | re.IGNORECASE)
_HEADER = re.compile(r"(?P<name>(?:proxy-)?authorization|cookie|x-[\w-]{1,80}):\s*", re.IGNORECASE)
_USER_OPTION = re.compile(r"-[A-Za-z]{0,4}[uU]|--user|--proxy-user")  # curl -su me:…
_USER_PASSWORD = re.compile(r"[^\s:]+:(?P<secret>(?!//|\d+$).+)", re.DOTALL)
_SCRIPT_OPTION = re.compile(r"-[A-Za-z]{0,5}c")  # sh -c …: what follows may be a variable and then a command
_VALUE = re.compile(
    r"""(?P<secret>(?P<quote>\\{1,4}["'])(?:(?!(?P=quote)).)*+(?P=quote)"""  # quoted within what is quoted itself
    r"""|\$?"(?:[^"\\]|\\.)*+"|\$'(?:[^'\\]|\\.)*+'|'[^']*+'|["'][^\r\n]+"""  # the last: cut off
    r"""|(?:[^\s"'&;,|)\\]|\\[^"'])+)""",
    re.DOTALL,
)
# What a terminal does not show, which may stand in the middle of a secret or of its name: escape sequences, controls
# that end no line, the soft hyphen, zero-width and bidi marks, invisible tags.
_UNSEEN = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\n]*+(?:\x07|\x1b\\)?|\x1b[ -/]*+[0-~]"
    "|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """Shows texts about one agent without its secrets. `command`: its command as it may be shown."""

    command: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    rules: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, env: Mapping[str, str], command: Sequence[str] = (), rules: Iterable[str] = ()) -> Redactor:
        """For an agent with this environment and command; `rules` are its owner's. Raises re.error for a bad rule."""
        own = secrets_of(env)
        redactor = cls(own=_longest_first(own), rules=tuple(re.compile(rule) for rule in rules))
        found: set[str] = set()
        shown = redactor._arguments(command, found)
        if not found - own:
            return cls(command=shown, own=redactor.own, rules=redactor.rules)
        redactor = cls(own=_longest_first(own | found), rules=redactor.rules)
        return cls(command=redactor._arguments(command, found), own=redactor.own, rules=redactor.rules)

    def text(self, text: str) -> str:
        """`text` as it may be shown. What a terminal does not show is left out where a secret is found without it."""
        return self._text(text, set())

    def output(self, text: str) -> str:
        """`text` as it may be shown, whose writer may have been interrupted within one of the agent's own secrets."""
        shown = self.text(text)
        for secret in self.own:
            for size in range(len(secret) - 1, SHORTEST_CONTAINED - 1, -1):
                if shown.endswith(secret[:size]):
                    return shown[:-size] + MARK
        return shown

    def value(self, name: str, text: str) -> str:
        """What stands under a name, as it may be shown: nothing of it where the name is a secret's."""
        return MARK if is_secret_name(name) else self._whole(text, set())

    def arguments(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """A command line as it may be shown."""
        return self._arguments(arguments, set())

    def _arguments(self, arguments: Sequence[str], found: set[str]) -> tuple[str, ...]:
        return tuple(
            self._argument(arguments[index - 1] if index else "", argument, found)
            for index, argument in enumerate(arguments)
        )

    def _argument(self, before: str, argument: str, found: set[str]) -> str:
        if argument in self.own:
            return MARK
        option = _OPTION.fullmatch(before) or _HEADER.fullmatch(before)
        if option is not None and is_secret_name(option["name"]) and not _LONG_OPTION.fullmatch(argument):
            if not _SCHEME.fullmatch(argument):  # a word that stands in innocent texts, too
                found.add(argument)
            return MARK
        scheme = _SCHEME.fullmatch(before)
        if scheme is not None:  # of a header that a shell has split
            return self._behind(scheme["scheme"], argument, found)
        pair = _USER_PASSWORD.fullmatch(argument) if _USER_OPTION.fullmatch(before) else None
        if pair is not None:
            found.add(pair["secret"])
            return argument[: pair.start("secret")] + MARK
        return (
            self._text(argument, found) if _SCRIPT_OPTION.fullmatch(before) else self._whole(argument, found)
        )

    def _whole(self, text: str, found: set[str]) -> str:
        """`text` that stands alone: what is named in its beginning reaches to its end, whatever is in between."""
        shown = self._text(text, found)
        whole = secret_of_whole(text)
        if whole is None:
            return shown
        found.add(whole["secret"])
        begin, end = whole.span("secret")
        name = text[:begin].rstrip()
        return self._text(name, found) + text[len(name) : begin] + MARK + self._text(text[end:], found)

    def _behind(self, scheme: str, argument: str, found: set[str]) -> str:
        """What follows the name of a scheme as an argument of its own; any may be a bearer's token, however short."""
        if scheme.lower() == "bearer" and not _LONG_OPTION.fullmatch(argument):
            found.add(argument)
            return MARK
        return self._text(f"{scheme} {argument}", found)[len(scheme) + 1 :]

    def _text(self, text: str, found: set[str]) -> str:
        seen = _UNSEEN.sub("", text)
        if seen != text:
            shown = self._seen(seen, found)
            if shown != seen:
                return shown
        return self._seen(text, found)

    def _seen(self, text: str, found: set[str]) -> str:
        for pattern in self.rules:
            found.update(match[0] for match in pattern.finditer(text))
            text = pattern.sub(lambda match: MARK if match[0] else "", text)
        for secret in self.own:
            if len(secret) < SHORTEST_CONTAINED:
                break  # they come by length
            text = text.replace(secret, MARK)
        for rule in RULES if MAY_MATCH.search(text) else ():
            if rule.only_with in text:
                text = _masked(rule, text, found)
        return text


BY_RULES_ALONE = Redactor()


def _masked(rule: Rule, text: str, found: set[str]) -> str:
    parts: list[str] = []
    begun = at = 0
    while (match := rule.pattern.search(text, at)) is not None:
        at = match.end()
        if rule.is_secret is not None and not rule.is_secret(match["secret"]):
            continue
        if "name" in rule.pattern.groupindex:
            at = match.end("name")  # what follows may be a name itself: --env=TOKEN=…
            if not is_secret_name(match["name"]):
                continue
            value = match if "secret" in rule.pattern.groupindex else _VALUE.match(text, match.end())
            if value is None:
                continue
            match = value
        parts += [text[begun : match.start("secret")], MARK]
        found.add(match["secret"].strip("$\\\"'"))
        begun = at = match.end("secret")
    return "".join([*parts, text[begun:]]) if parts else text


def _longest_first(secrets: set[str]) -> tuple[str, ...]:
    secrets = secrets - {"", MARK}
    written = secrets.union(*(as_written(secret) for secret in secrets))
    return tuple(sorted(written, key=lambda secret: (-len(secret), secret)))

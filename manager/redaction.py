"""Secrets in arguments, reasons, labels and output, shown as `[redacted]`. Pure.

Three kinds: what `manager.redaction_rules` knows, what the agent's owner adds (`AgentSpec.redact`), and the agent's own
secrets: values of its environment variables whose names say so, passwords in its variables' URLs, and whatever a rule
found in its arguments. The latter are found wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manager.redaction_rules import MAY_MATCH, RULES, URL_PASSWORD, Rule, is_secret_name

MARK = "[redacted]"
SHORTEST_CONTAINED = 6  # a shorter own secret is redacted as a whole argument only: "1" is in everything
SHORTEST_LINE = 16  # of a secret of several lines, of which an output may hold some
_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.-]+)")
_LONG_OPTION = re.compile(r"--[A-Za-z][\w-]*(=.*)?", re.DOTALL)
_SCHEME = re.compile(r"(?:.*[\s:=\"'])?(?P<scheme>bearer|basic|token|apikey)\s*", re.DOTALL | re.IGNORECASE)
_HEADER = re.compile(r"(?P<name>(?:proxy-)?authorization|cookie|x-[\w-]{1,80}):\s*", re.IGNORECASE)
_USER_OPTION = re.compile(r"-[A-Za-z]{0,4}[uU]|--user|--proxy-user")  # curl -su me:…
_USER_PASSWORD = re.compile(r"[^\s:]+:(?P<secret>(?!//|\d+$).+)", re.DOTALL)
_VALUE = re.compile(r"""(?P<secret>"[^"]*"|'[^']*'|[^\s"'&;,|)]+)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """Shows texts about one agent without its secrets. `command`: its command as it may be shown."""

    command: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    rules: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, env: Mapping[str, str], command: Sequence[str] = (), rules: Iterable[str] = ()) -> Redactor:
        """For an agent with this environment and command; `rules` are its owner's. Raises re.error for a bad rule."""
        own = _secrets_of(env)
        redactor = cls(own=_longest_first(own), rules=tuple(re.compile(rule) for rule in rules))
        found: set[str] = set()
        shown = redactor._arguments(command, found)
        if not found - own:
            return cls(command=shown, own=redactor.own, rules=redactor.rules)
        redactor = cls(own=_longest_first(own | found), rules=redactor.rules)
        return cls(command=redactor._arguments(command, found), own=redactor.own, rules=redactor.rules)

    def text(self, text: str) -> str:
        """`text` as it may be shown."""
        return self._text(text, set())

    def value(self, name: str, text: str) -> str:
        """What stands under a name, as it may be shown: nothing of it where the name is a secret's."""
        return MARK if is_secret_name(name) else self.text(text)

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
        return self._text(argument, found)

    def _behind(self, scheme: str, argument: str, found: set[str]) -> str:
        """What follows the name of a scheme as an argument of its own; any may be a bearer's token, however short."""
        if scheme.lower() == "bearer" and not _LONG_OPTION.fullmatch(argument):
            found.add(argument)
            return MARK
        return self._text(f"{scheme} {argument}", found)[len(scheme) + 1 :]

    def _text(self, text: str, found: set[str]) -> str:
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
            value = _VALUE.match(text, match.end()) if is_secret_name(match["name"]) else None
            if value is None:
                continue
            match = value
        parts += [text[begun : match.start("secret")], MARK]
        found.add(match["secret"].strip("\"'"))
        begun = at = match.end("secret")
    return "".join([*parts, text[begun:]]) if parts else text


def _secrets_of(env: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for name, value in env.items():
        if is_secret_name(name):
            found.add(value)
            found.update(line for line in value.splitlines() if len(line) >= SHORTEST_LINE)
        elif "://" in value:
            found.update(match["secret"] for match in re.finditer(URL_PASSWORD, value))
    return found


def _longest_first(secrets: set[str]) -> tuple[str, ...]:
    return tuple(sorted(secrets - {"", MARK}, key=lambda secret: (-len(secret), secret)))

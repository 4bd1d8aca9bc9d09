"""What to run and how to look after it: the values that callers hand in, checked when they are built."""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from eventstore.errors import InvalidRequest
from eventstore.values import HealthLimits, RecordedSpec, ResourceLimits, RestartRule
from manager.recordable import recordable
from manager.redaction import Redactor

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[^=\x00]+")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")

MOST_SECONDS = 31_536_000  # a year
MOST_BYTES = 1 << 50
MOST_PROCESSES = 1 << 22  # as many pids as Linux gives
MOST_RULES, MOST_RULE_CHARACTERS = 32, 500
MOST_RECORDED_BYTES = 48 * 1024  # the event that holds a spec may have 64 KiB
Grace = tuple[float, float, float]
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        parts = value if isinstance(value, tuple | list) else (value,)
        is_truth = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        if not is_truth and any(isinstance(part, bool) for part in parts):
            raise ValueError(
                "True and False are no values of it; give what it takes"
            )  # pydantic would take 1 and 0
        return value


class RestartPolicy(_Value):
    """When an ended attempt is followed by another.

    The k-th restart in a row waits `backoff_seconds * 2 ** (k - 1)`, at most `backoff_limit_seconds`; an attempt that
    ran for `reset_after_seconds` starts the count anew. A policy acts while a coordinator holds the home; what is due
    otherwise is done when the next one comes. Something that was stopped on purpose is never restarted.
    """

    mode: Literal["never", "on-failure", "always"] = "never"
    max_restarts: Annotated[int, Field(ge=1)] | None = None
    backoff_seconds: Seconds = 1.0
    backoff_limit_seconds: Seconds = 60.0
    reset_after_seconds: Seconds = 60.0

    @classmethod
    def never(cls) -> RestartPolicy:
        """No restart: the default."""
        return cls()

    @classmethod
    def on_failure(cls, max_restarts: int | None = None) -> RestartPolicy:
        """After FAILED, KILLED by a policy, or LOST; at most `max_restarts` in a row, None for no limit."""
        return cls(mode="on-failure", max_restarts=max_restarts)

    @classmethod
    def always(cls, max_restarts: int | None = None) -> RestartPolicy:
        """After success, too."""
        return cls(mode="always", max_restarts=max_restarts)


class Limits(_Value):
    """What an attempt and its whole tree may use; None: as much as they want. Beyond it the attempt is stopped.

    `wall_seconds` from its start; `memory_bytes` resident in all processes together, and `processes`, as `ps` shows
    them; `cpu_seconds` of user and system time so far. Enforced while a coordinator holds the home; the stop has the
    cause "limit", the attempt has FAILED with it, and its restart policy says whether another follows.
    """

    wall_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)] | None = None
    memory_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] | None = None
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    cpu_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)] | None = None


class HealthRule(_Value):
    """What shows that an attempt does not work any more; None: nothing does. It is then stopped.

    `silence_seconds`: neither its stdout nor its stderr has changed for so long. Enforced while a coordinator holds the
    home; the stop has the cause "health", the attempt has FAILED with it, and its restart policy says whether another
    follows.
    """

    silence_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)] | None = None


class AgentSpec(_Value):
    """One agent's program and policy. Raises pydantic's `ValidationError` (a `ValueError`) for impossible values.

    `command`: program and arguments, no shell; the program is looked up in the PATH of the agent's own environment.
    `cwd`: None is the coordinator's. `env` is added to the coordinator's environment, or (`inherit_env=False`) is all
    of it. `user`: name or number; needs root. `umask`: None is the coordinator's. `until`: "main" ends with the first
    process (what is left of its tree is killed), "tree" with the last descendant, for programs that daemonise.
    `stop_grace_seconds`: waits after SIGTERM to the process, SIGTERM to its tree, SIGKILL (10, 5, 5 as the design that
    outlive replaced had them). `start_window_seconds`: an end within it is a failed start (0 to 31,536,000).
    `cgroup`: a cgroup of its own where a writable cgroup v2 is found: its tree is then known, and killed at once, even
    if its shim is lost; a start takes 1 to 2 ms more. `limits`: of what it and its tree may use. `health`: what shows
    that it hangs. `redact`: patterns (Python's `re`) of secrets, beside those that outlive knows itself; what they
    match is `[redacted]` in all but `spec.json` and the agent's own output.
    """

    command: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = {}
    inherit_env: bool = True
    user: str | None = None
    umask: Annotated[int, Field(ge=0, le=0o777)] | None = None
    until: Literal["main", "tree"] = "main"
    start_window_seconds: Seconds = 0.1
    stop_grace_seconds: tuple[Seconds, Seconds, Seconds] = (10.0, 5.0, 5.0)
    success_codes: tuple[Annotated[int, Field(ge=0, le=255)], ...] = (0,)
    restart: RestartPolicy = RestartPolicy()
    labels: Mapping[str, str] = {}
    cgroup: bool = False
    limits: Limits = Limits()
    health: HealthRule = HealthRule()
    redact: tuple[str, ...] = ()

    @field_validator("command")
    @classmethod
    def _command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not value[0]:
            raise ValueError("the command is empty; give a program and its arguments")
        if any("\0" in part for part in value):
            raise ValueError("an argument holds a NUL byte, which no program can be given")
        return value

    @field_validator("cwd", mode="before")
    @classmethod
    def _cwd(cls, value: object) -> object:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("env")
    @classmethod
    def _env(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name) or "\0" in text or recordable(name) != name:
                raise ValueError(f"{name!r} is not a variable that an environment can hold")
        return dict(value)

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not _LABEL.fullmatch(name) or len(text) > 256 or recordable(text) != text:
                raise ValueError(
                    f"label {name!r}: letters, digits and ._/- for the name, 256 characters for the text"
                )
        return dict(value)

    @field_validator("redact")
    @classmethod
    def _redact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > MOST_RULES or any(len(rule) > MOST_RULE_CHARACTERS for rule in value):
            raise ValueError(f"at most {MOST_RULES} rules of {MOST_RULE_CHARACTERS} characters each")
        for number, rule in enumerate(value, start=1):
            try:
                is_void = re.search(rule, "") is not None
            except (re.error, RecursionError) as error:
                raise ValueError(f"rule {number} is no regular expression: {error}") from error
            if is_void:
                raise ValueError(f"rule {number} matches nothing at all, which is everywhere; make it longer")
        return value

    @field_validator("user")
    @classmethod
    def _user(cls, value: str | None) -> str | None:
        if value is not None and recordable(value) != value:
            raise ValueError(f"{value!r} is no name of a user")
        return value

    @model_validator(mode="after")
    def _size(self) -> AgentSpec:
        # As the log writes it: a quote takes two bytes there, a control character six.
        recorded = json.dumps(
            self.model_dump(exclude={"env"}) | {"names": list(self.env)}, ensure_ascii=False
        )
        if len(recordable(recorded).encode()) > MOST_RECORDED_BYTES:
            raise ValueError(
                "command, variable names, labels and the rest take more than 48 KiB as the log writes them; "
                "pass large input by a file"
            )
        return self

    def recorded(self, redactor: Redactor | None = None) -> RecordedSpec:
        """The form that the log keeps: variable names without values, and `[redacted]` for other secrets.

        `redactor`: of the request that it is started with, whose environment may be larger than `env`.
        """
        if redactor is None:
            redactor = Redactor.of(self.env, self.command, self.redact)
        return RecordedSpec(
            command=tuple(recordable(part) for part in redactor.command),
            cwd=None if self.cwd is None else recordable(redactor.text(self.cwd)),
            env_names=tuple(sorted(self.env)),
            inherit_env=self.inherit_env,
            user=self.user,
            umask=self.umask,
            until=self.until,
            start_window_seconds=self.start_window_seconds,
            stop_grace_seconds=self.stop_grace_seconds,
            success_codes=self.success_codes,
            restart=RestartRule(**self.restart.model_dump()),
            labels={
                name: redactor.value(name, text) for name, text in sorted(self.labels.items())
            },  # as it is read
            cgroup=self.cgroup,
            limits=None if self.limits == Limits() else ResourceLimits(**self.limits.model_dump()),
            health=None if self.health == HealthRule() else HealthLimits(**self.health.model_dump()),
        )

    def digest(self, key: bytes) -> str:
        """Keyed SHA-256 (hex) over all of the spec: equal specs compare equal, and no value can be guessed."""
        # Without rules and limits it is what it was before there were any: `ensure` finds agents of older releases.
        unset = {
            "redact": not self.redact,
            "limits": self.limits == Limits(),
            "health": self.health == HealthRule(),
        }
        unused = {name for name, is_unset in unset.items() if is_unset}
        fields = self.model_dump(mode="json", exclude=unused)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hmac.new(key, text.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def check_name(name: str) -> str:
    """`name` if it may name an agent: a letter or digit, then up to 63 of letters, digits, `.`, `_`, `-`."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"cannot use {name!r} as an agent's name: it takes up to 64 letters, digits, '.', '_' or '-', "
            "a letter or digit first; choose another"
        )
    return name


def explain(error: ValidationError) -> str:
    """One line for people: the first thing that is wrong with a value, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "spec"
    return f"cannot use {where}: {first['msg'].removeprefix('Value error, ')}"


def check_grace(grace: Grace | None) -> Grace | None:
    """Three waits in seconds, each 0 or more and finite. Raises `InvalidRequest`."""
    if grace is None:
        return None
    waits = tuple(float(seconds) for seconds in grace)
    if len(waits) != 3 or not all(0 <= seconds <= MOST_SECONDS for seconds in waits):
        raise InvalidRequest(
            f"cannot use {grace!r} as grace: it takes three waits in seconds, 0 to 31,536,000 each"
        )
    return (waits[0], waits[1], waits[2])

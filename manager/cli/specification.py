"""The options of `run` that say what to run, made into an `AgentSpec`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eventstore.errors import InvalidRequest
from manager.cli.options import DURATION, GRACE, PAIR, SIZE

if TYPE_CHECKING:
    from manager.spec import AgentSpec, RestartPolicy

_F = TypeVar("_F", bound=Callable[..., Any])
_RESTART = re.compile(r"(never|on-failure|always)(?::([1-9][0-9]{0,8}))?", re.ASCII)

_OPTIONS = (
    click.option("--cwd", metavar="DIR", help="Working directory [where you are]."),
    click.option(
        "--env",
        "variables",
        multiple=True,
        metavar="K=V",
        help="Set a variable; K alone passes ours on (repeat).",
    ),
    click.option(
        "--env-file",
        "env_files",
        multiple=True,
        metavar="FILE",
        help="Variables, KEY=VALUE a line, # comments (repeat).",
    ),
    click.option("--clean-env", is_flag=True, help="Nothing but --env and --env-file in the environment."),
    click.option(
        "--start-window",
        type=DURATION,
        default="100ms",
        show_default=True,
        help="An end within it is a failed start.",
    ),
    click.option(
        "--restart",
        default="never",
        show_default=True,
        metavar="never|on-failure[:N]|always[:N]",
        help="Restart policy.",
    ),
    click.option(
        "--stop-grace",
        type=GRACE,
        default="10s,5s,5s",
        show_default=True,
        help="Waits after SIGTERM, SIGTERM to the tree, SIGKILL.",
    ),
    click.option(
        "--success-codes",
        default="0",
        show_default=True,
        metavar="N,N",
        help="Exit codes that are a success.",
    ),
    click.option("--wall", type=DURATION, help="Stop it when it has run for so long, like 30m."),
    click.option("--memory", type=SIZE, help="Stop it when its whole tree uses more memory, like 512M."),
    click.option("--processes", type=int, metavar="N", help="Stop it when its tree has more processes."),
    click.option(
        "--cpu",
        type=DURATION,
        help="Stop it when its tree has used more CPU time (user and system) since its start, like 90s.",
    ),
    click.option(
        "--max-silence", type=DURATION, help="Stop it when it has written nothing for so long, like 10m."
    ),
    click.option(
        "--label", "labels", multiple=True, type=PAIR, metavar="K=V", help="A label (repeat for more)."
    ),
    click.option(
        "--redact",
        "redact",
        multiple=True,
        metavar="RE",
        help="What this pattern matches is a secret: recorded and shown as [redacted] (repeat).",
    ),
    click.option("--user", help="Run as this user; needs root."),
    click.option("--umask", metavar="OCTAL", help="File mode mask, like 027 [ours]."),
    click.option(
        "--until",
        type=click.Choice(["main", "tree"]),
        default="main",
        show_default=True,
        help="Over when the first process ends, or (for programs that daemonise) the last descendant.",
    ),
    click.option("--cgroup", is_flag=True, help="A cgroup of its own, where a writable cgroup v2 is found."),
)


def spec_options(command: _F) -> _F:
    """Add the options to a command; their values are `build_spec`'s keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def build_spec(
    *,
    command: Sequence[str],
    cwd: str | None,
    variables: Sequence[str],
    env_files: Sequence[str],
    clean_env: bool,
    start_window: float,
    restart: str,
    stop_grace: tuple[float, float, float],
    success_codes: str,
    wall: float | None,
    memory: int | None,
    processes: int | None,
    cpu: float | None,
    max_silence: float | None,
    labels: Sequence[tuple[str, str]],
    redact: Sequence[str],
    user: str | None,
    umask: str | None,
    until: str,
    cgroup: bool,
) -> AgentSpec:
    """The spec. Raises `InvalidRequest` with the first value that cannot be, and what can."""
    from pydantic import ValidationError

    from manager.spec import AgentSpec, explain

    try:
        return AgentSpec.model_validate(
            {
                "command": tuple(command),
                "cwd": os.path.abspath(cwd or os.getcwd()),
                "env": _environment(env_files, variables),
                "inherit_env": not clean_env,
                "user": user,
                "umask": parse_umask(umask),
                "until": until,
                "cgroup": cgroup,
                "start_window_seconds": start_window,
                "stop_grace_seconds": stop_grace,
                "success_codes": parse_codes(success_codes),
                "restart": parse_restart(restart),
                "limits": {
                    "wall_seconds": wall,
                    "memory_bytes": memory,
                    "processes": processes,
                    "cpu_seconds": cpu,
                },
                "health": {"silence_seconds": max_silence},
                "labels": dict(labels),
                "redact": tuple(redact),
            }
        )
    except ValidationError as error:
        raise InvalidRequest(f"{explain(error)}; see `outlive run --help`") from error


def parse_restart(text: str) -> RestartPolicy:
    """`never`, `on-failure`, `on-failure:3`, `always`, `always:10`. Raises `InvalidRequest`."""
    from manager.spec import RestartPolicy

    found = _RESTART.fullmatch(text)
    if found is None or (found[1] == "never" and found[2]):
        raise InvalidRequest(
            f"cannot use --restart {text!r}: no such policy; write never, on-failure, on-failure:3, always or always:3"
        )
    most = int(found[2]) if found[2] else None
    match found[1]:
        case "on-failure":
            return RestartPolicy.on_failure(most)
        case "always":
            return RestartPolicy.always(most)
        case _:
            return RestartPolicy.never()


def parse_codes(text: str) -> tuple[int, ...]:
    """`0,3` as numbers. Raises `InvalidRequest`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidRequest(
            f"cannot use --success-codes {text!r}: they are not exit codes; write numbers from 0 to 255 like 0,3"
        )
    return tuple(int(part) for part in parts)


def parse_umask(text: str | None) -> int | None:
    """`027` as a number. Raises `InvalidRequest`."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-7]{1,4}", text, re.ASCII):
        raise InvalidRequest(f"cannot use --umask {text!r}: it is not octal; write an octal number like 027")
    return int(text, 8)


def read_env_file(path: str) -> dict[str, str]:
    """Variables of a file: `KEY=VALUE` a line, taken as it is (no quotes, no expansion); `#` begins a comment line.

    Raises `InvalidRequest` with the line that is something else.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:  # the latter for a NUL in it
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"cannot read --env-file {path}: {why}; check the path") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise InvalidRequest(f"cannot use --env-file {path}: line {number} is not KEY=VALUE; correct it")
        found[name.strip()] = value
    return found


def _environment(env_files: Sequence[str], variables: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for path in env_files:
        found.update(read_env_file(path))
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise InvalidRequest(
                    "cannot use --env: one is neither K=V nor the name of a variable; it may be secret and is not "
                    "shown: write K=V"
                )
            if name not in os.environ:
                raise InvalidRequest(
                    f"cannot pass on --env {name}: it is not set here; set it, or write {name}=VALUE"
                )
            value = os.environ[name]
        found[name] = value
    return found

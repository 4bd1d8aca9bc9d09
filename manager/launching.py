"""Launch requests: what the launcher needs to start an attempt, made from a spec or from the attempt before."""

from __future__ import annotations

import os
import pwd
import re
import resource
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from eventstore.errors import InvalidRequest, OutliveError
from eventstore.state import AgentState
from eventstore.values import RecordedSpec
from manager import commands as do
from manager.process import procfs
from manager.process.attempt_dir import read_as
from manager.process.identity import TOKEN_VARIABLE
from manager.spec import AgentSpec

# Test switches of the coordinator, and marks of the agent that the coordinator itself may run in.
_NEVER_INHERITED = (
    "OUTLIVE_CRASH",
    "OUTLIVE_STOP",
    "OUTLIVE_DISABLE",
    TOKEN_VARIABLE,
    "OUTLIVE_AGENT",
    "OUTLIVE_AGENT_ID",
    "OUTLIVE_ATTEMPT",
)


class SpecLost(OutliveError):
    """What an earlier attempt was started with cannot be read any more, so it cannot be started again."""


class Start(NamedTuple):
    """One agent to start: `request` as `first_request` made it."""

    name: str
    spec: RecordedSpec
    spec_digest: str
    request: dict[str, Any]


def first_request(spec: AgentSpec, *, nofile: tuple[int, int]) -> dict[str, Any]:
    """A request for a new agent, complete but for what `for_attempt` adds. Raises `InvalidRequest` for a bad user."""
    inherited = {**os.environ} if spec.inherit_env else {}
    for name in _NEVER_INHERITED:
        inherited.pop(name, None)
    if spec.user is not None:
        inherited.update(_login_variables(spec.user))
    return {
        **of_spec(spec),
        "cwd": os.path.abspath(spec.cwd) if spec.cwd is not None else os.getcwd(),
        "env": {**inherited, **spec.env},
        "umask": our_umask() if spec.umask is None else spec.umask,
        "nofile": list(nofile),
    }


def of_spec(spec: AgentSpec) -> dict[str, Any]:
    """The part of a request that does not depend on who makes it. Raises `InvalidRequest` for a bad user."""
    return {
        "command": list(spec.command),
        "user": None if spec.user is None else find_user(spec.user),
        "until": spec.until,
        "rlimits": {},
        "cgroup": spec.cgroup,
        "redact": list(spec.redact),
    }


def again(previous: Path) -> dict[str, Any]:
    """The request that the attempt in directory `previous` was started with. Raises `SpecLost`."""
    body = read_as("spec", str(previous))
    if not isinstance(body, dict):
        raise SpecLost(
            f"cannot start it again: {previous / 'spec.json'} is missing or damaged; "
            "start a new agent with `outlive run`"
        )
    return body


def next_attempt(agent_id: str, state: AgentState) -> do.Spawn:
    """The command that starts the attempt after the one that `state` is about."""
    return do.Spawn(
        name=state.name,
        spec=state.spec,
        spec_digest=state.spec_digest,
        directory=f"agents/{agent_id}/{state.attempt + 1}",
        boot_id=procfs.boot_id(),
    )


def for_attempt(
    request: Mapping[str, Any], home: Path, directory: str, *, agent_id: str, name: str
) -> dict[str, Any]:
    """`request` for one attempt: its directory, a token of its own, and the variables that tell the agent who it is."""
    token = secrets.token_hex(16)
    marks = {
        TOKEN_VARIABLE: token,
        "OUTLIVE_AGENT": name,
        "OUTLIVE_AGENT_ID": agent_id,
        "OUTLIVE_ATTEMPT": directory.rpartition("/")[2],
    }
    return {
        **request,
        "attempt_dir": str(home / directory),
        "token": token,
        "env": {**request["env"], **marks},
    }


def find_user(user: str) -> dict[str, Any]:
    """uid, gid and all groups of a user given by name or number. Raises `InvalidRequest` when there is none."""
    entry = _entry_of(user)
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": os.getgrouplist(entry.pw_name, entry.pw_gid)}


def _login_variables(user: str) -> dict[str, str]:
    entry = _entry_of(user)
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


def _entry_of(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError, ValueError) as error:  # not there, too large, no number or name at all
        raise InvalidRequest(
            f"cannot run as user {user!r}: this system has no such user; check --user or the spec's user"
        ) from error


def our_umask() -> int:
    """Our umask, without setting it: another thread may be creating a file just now."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022


def descriptor_limit() -> tuple[int, int]:
    """Our soft and hard limits of descriptors."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_own_descriptor_limit() -> tuple[int, int]:
    """Lift our soft limit to the hard one (two pidfds an agent); returns the limits that agents are to have."""
    global _given
    if _given is None:
        _given = descriptor_limit()
        resource.setrlimit(resource.RLIMIT_NOFILE, (_given[1], _given[1]))
    return _given


_given: tuple[int, int] | None = None  # as we were started with; a second manager finds them raised


def default_name(spec: RecordedSpec) -> str:
    """A name for an agent that was given none: its program's, and six random letters and digits."""
    program = re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(spec.command[0])).lstrip("._-")[:40]
    return f"{program or 'agent'}-{secrets.token_hex(3)}"

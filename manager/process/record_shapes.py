"""What a record must hold to be believed: the fields that readers use, of the right kind and within what is possible.

A checksum shows that a record is as somebody wrote it, not that it was a shim. A record that is whole and says what no
shim says is treated as a damaged one: what it would have told is unknown. Fields that are not named here may be absent
or anything, so that records of other releases stay readable.
"""

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]

LONGEST_TEXT = 4096
_NUMBERS = range(1 << 63)  # what the log's columns hold
_INODES = range(1 << 64)
_PIDS = range(2, (1 << 22) + 1)  # 1 is init; PID_MAX_LIMIT, include/linux/threads.h
_TIMES = range(253_402_300_800_000_000)  # microseconds, to the end of the year 9999
_CODES = range(256)
_IDS = range((1 << 32) - 1)
_SIGNALS = range(1, 65)


def problem(name: str, body: dict[str, Any], attempt: str) -> str | None:
    """Why the body of ``NAME.json`` cannot be what a shim wrote for `attempt` (its name); None when it can be."""
    told = body.get("attempt") if name != "spec" else "/".join(str(body.get("attempt_dir")).split("/")[-2:])
    if told != attempt:
        return f"it is of attempt {told!r}"
    for field, is_possible in _SHAPES[name].items():
        if field not in body:
            return f"it has no {field}"
        if not is_possible(body[field]):
            return f"its {field} is impossible"
    contradiction = _CONTRADICTIONS.get(name)
    return "it contradicts itself" if contradiction is not None and contradiction(body) else None


def _whole(values: range) -> Check:
    return lambda value: type(value) is int and value in values


def _one_of(*values: object) -> Check:
    return lambda value: isinstance(value, str | bool) and value in values


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _is_token(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and "/" not in value


def _is_group(value: object) -> bool:
    return _is_text(value) and str(value).startswith("/") and ".." not in str(value).split("/")


def _is_usage(value: object) -> bool:
    number = _whole(_NUMBERS)
    return (
        isinstance(value, dict)
        and all(number(value.get(field)) for field in ("utime_us", "stime_us"))
        and _or_null(number)(value.get("maxrss_bytes", ""))
    )


def _is_left(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and _whole(_PIDS)(item.get("pid")) for item in value
    )


def _is_environment(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _contradicts_as_spec(body: dict[str, Any]) -> bool:
    user = body.get("user")
    return user is not None and not (isinstance(user, dict) and _whole(_IDS)(user.get("uid")))


def _contradicts_as_identity(body: dict[str, Any]) -> bool:
    # The cgroup is named after the token: another's would be emptied in this attempt's name.
    group, token = body["cgroup"], body["token"]
    return group is not None and (not token or group.rpartition("/")[2] != token)


def _contradicts_as_exec(body: dict[str, Any]) -> bool:
    return body["phase"] is not None and _is_failure_without_words(body)


def _is_failure_without_words(body: dict[str, Any]) -> bool:
    return body["errno"] is None or body["message"] is None


def _contradicts_as_exit(body: dict[str, Any]) -> bool:
    told = {
        "code": (body["code"] is not None, body["signal"] is None, body["phase"] is None),
        "signal": (body["code"] is None, body["signal"] is not None, body["phase"] is None),
        "failed_start": (
            body["code"] is None,
            body["signal"] is None,
            body["phase"] is not None,
            not _is_failure_without_words(body),
        ),
        "unknown": (
            body["code"] is None,
            body["signal"] is None,
            body["phase"] is None,
            bool(body["message"]),
        ),
    }
    return not all(told[body["kind"]])


def _exit_shape(record: str) -> dict[str, Check]:
    return {
        "record": _one_of(record),
        "kind": _one_of("code", "signal", "failed_start", "unknown"),
        "code": _or_null(_whole(_CODES)),
        "signal": _or_null(_whole(_SIGNALS)),
        "core": _one_of(True, False),
        "phase": _or_null(_is_text),
        "errno": _or_null(_whole(_NUMBERS)),
        "message": _or_null(_is_text),
        "ended_at": _whole(_TIMES),
        "started_boottime_ns": _whole(_NUMBERS),
        "ended_boottime_ns": _whole(_NUMBERS),
        "rusage": _or_null(_is_usage),
        "oom_kills": _or_null(_whole(_NUMBERS)),
    }


_SHAPES: dict[str, dict[str, Check]] = {
    "spec": {"token": _is_token, "env": _is_environment},
    "identity": {
        "record": _one_of("identity"),
        "pid": _whole(_PIDS),
        "start_ticks": _whole(_NUMBERS),
        "pidfd_inode": _or_null(_whole(_INODES)),
        "shim_pid": _whole(_PIDS),
        "shim_start_ticks": _whole(_NUMBERS),
        "shim_pidfd_inode": _or_null(_whole(_INODES)),
        "boot_id": _is_text,
        "pid_namespace": _whole(_NUMBERS),
        "cgroup": _or_null(_is_group),
        "token": _is_token,
    },
    "exec": {
        "record": _one_of("exec"),
        "phase": _or_null(_is_text),
        "errno": _or_null(_whole(_NUMBERS)),
        "message": _or_null(_is_text),
        "confirmed_at": _whole(_TIMES),
    },
    "main": _exit_shape("main"),
    "exit": _exit_shape("exit"),
    "sweep": {"record": _one_of("sweep"), "left": _is_left, "complete": _one_of(True, False)},
}
_CONTRADICTIONS: dict[str, Check] = {
    "spec": _contradicts_as_spec,
    "identity": _contradicts_as_identity,
    "exec": _contradicts_as_exec,
    "main": _contradicts_as_exit,
    "exit": _contradicts_as_exit,
}

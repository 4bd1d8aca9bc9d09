"""What a file, a socket or a command line may hold instead of what we wrote: strategies for hypothesis."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from manager.process import record_lines
from manager.process.attempt_dir import decode, encode_canonical
from manager.process.exit_status import ExitStatus, exit_line
from manager.process.syscalls import Usage

TOKEN = "0123456789abcdef0123456789abcdef"
ODD_NUMBERS = [-(10**40), -(1 << 31), -1, 0, 1, 2, (1 << 22) + 1, 1 << 31, 1 << 63, 1 << 64, 10**40]
ODD_TEXTS = ["", "\0", "a\0b", "\ud800", "\u202e\x1b[2J", "../../etc", "/", "NaN", "x" * 5000, "é" * 5000]

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def examples(number: int) -> settings:
    """Settings for so many examples: the same ones in every run, or, with FUZZ_TIMES=N, N times as many new ones."""
    return settings(
        max_examples=number * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],  # explaining takes minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(ODD_NUMBERS)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(ODD_TEXTS)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.text(max_size=8), values, max_size=6)


def true_records(boot_id: str, pid_namespace: int) -> dict[str, list[dict[str, Any]]]:
    """For each file of an attempt's directory the bodies that a shim may write."""
    identity = record_lines.identity(
        4_000_001,
        (100, b"4711"),
        4_000_000,
        (99, b"4710"),
        attempt=b'""',
        place=(boot_id.encode(), pid_namespace),
        cgroup=b"null",
        told=b'"token":"%b","uid":0,"until":"main"' % TOKEN.encode(),
    )
    refused = {"phase": "exec", "errno": 2, "message": "No such file or directory"}
    ends = [
        ExitStatus("code", code=7),
        ExitStatus("signal", signal=11, core=True),
        ExitStatus.failed_start(refused),
        ExitStatus.unknown("the shim found its child already reaped"),
    ]
    return {
        "spec": [
            {
                "attempt_dir": "",
                "token": TOKEN,
                "env": {"A": "b"},
                "command": ["true"],
                "user": None,
                "until": "main",
            }
        ],
        "identity": [decode(encode_canonical(identity))],
        "exec": [
            decode(encode_canonical(record_lines.executed(b'""', 1_700_000_000_000_000))),
            {"attempt": "", "record": "exec", **refused, "confirmed_at": 1_700_000_000_000_000},
        ],
        "main": [_exit(end, "main") for end in ends],
        "exit": [_exit(end, "exit") for end in ends],
        "sweep": [
            {"attempt": "", "record": "sweep", "left": [], "left_count": 0, "complete": True},
            {
                "attempt": "",
                "record": "sweep",
                "left": [{"pid": 4_000_002, "start_ticks": 5, "comm": "sh"}],
                "left_count": 1,
                "complete": False,
            },
        ],
    }


def _exit(status: ExitStatus, record: str) -> dict[str, Any]:
    usage = Usage(utime_us=5, stime_us=6, maxrss_bytes=4096)
    line = exit_line(
        status, attempt=b'""', record=record, until=b"main", started_boottime_ns=1, orphans=0, usage=usage
    )
    return decode(line)


@st.composite
def distorted(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """One of `bodies`, true, with fields dropped or replaced, or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(objects)
    body = dict(draw(st.sampled_from(bodies)))
    for field in draw(st.lists(st.sampled_from(sorted(body)), max_size=3, unique=True)):
        if draw(st.booleans()):
            body[field] = draw(values)
        else:
            del body[field]
    return body

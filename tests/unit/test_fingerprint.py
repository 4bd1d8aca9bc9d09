"""Failures that are alike get one fingerprint, whatever varies between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.fingerprint import error_line, fingerprint, normalised, of_end

CODE_1 = {"kind": "code", "code": 1}
LINES = [
    ("worker 12 failed after 3.5 s", "worker <n> failed after <n> s"),
    ("cannot open /var/lib/app/7/data.db: denied", "cannot open <path>: denied"),
    ("error in src/app/main.py:88", "error in <path>:<n>"),
    ("2026-11-23T08:00:00.123Z ERROR no answer", "<time> ERROR no answer"),
    ("Nov 23 08:00:01 host app: error", "<time> host app: error"),
    ("[08:00:01,250] error", "[<time>] error"),
    ("KeyError: 'customer-9'", "KeyError: <quoted>"),
    ("can't do it, don't ask", "can't do it, don't ask"),
    ("error at 0x7fff5fbff8a0 in deadbeef01", "error at <hex> in <hex>"),
    ("job 123e4567-e89b-12d3-a456-426614174000 failed", "job <uuid> failed"),
    ("GET https://example.org/a?b=c failed", "GET <url> failed"),
    ("\x1b[31merror:\x1b[0m   too\tmany", "error: too many"),
    ("read and/or write failed", "read and/or write failed"),
    ("", ""),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_what_varies_is_replaced_by_its_kind(line: str, expected: str) -> None:
    """Times, ids, addresses, paths, quotations and numbers do not tell one failure from another."""
    assert normalised(line) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: bad"],
            "ValueError: bad",
        ),
        (
            ["panic: runtime error: index", "", "goroutine 1 [running]:", "main.main()"],
            "panic: runtime error: index",
        ),
        (["Error: no answer", "    at failing (/app/x.js:3:9)", "Node.js v20.11.0"], "Error: no answer"),
        (["first", "second", "}", "----"], "second"),
        ([], ""),
        (["123"], ""),
    ],
)
def test_the_line_that_speaks_of_the_error_counts(lines: list[str], expected: str) -> None:
    """Not the last frame of a stack, nor a closing brace."""
    assert error_line(lines) == expected


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_do_not_tell_failures_apart(one: int, other: int) -> None:
    """Two failures that differ by a number are alike."""
    ids = {fingerprint("exit", CODE_1, [f"job {number} failed"]).id for number in (one, other)}
    assert len(ids) == 1


def test_cause_exit_and_words_tell_failures_apart() -> None:
    """Each of the three makes another fingerprint; a core dump and the reason of an unknown exit do not."""
    signal = {"kind": "signal", "signal": 9, "core_dumped": False}
    different = [
        fingerprint("exit", CODE_1, ["failed"]),
        fingerprint("exit", {"kind": "code", "code": 2}, ["failed"]),
        fingerprint("limit", CODE_1, ["failed"]),
        fingerprint("exit", CODE_1, ["denied"]),
        fingerprint("signal", signal, ["failed"]),
        fingerprint("unknown", {"kind": "unknown", "reason": "a"}, ["failed"]),
        fingerprint("failed start", None, ["failed"]),
    ]
    assert len({found.id for found in different}) == len(different)
    assert fingerprint("signal", {**signal, "core_dumped": True}, ["failed"]) == different[4]
    assert fingerprint("unknown", {"kind": "unknown", "reason": "b"}, ["failed"]) == different[5]


def test_erased_failures_of_one_cause_and_exit_are_alike() -> None:
    """Nothing of what they wrote tells them apart, and no line that an agent may write is taken for an erased one."""
    failed = {"cause": "exit", "message": "ended with exit code 1"}
    erased = of_end(failed, CODE_1, None)
    assert erased.line == "(erased)"
    assert erased.id not in {of_end(failed, CODE_1, lines).id for lines in ([], ["(erased)"], ["null"])}
    assert erased.id != of_end(failed, {"kind": "code", "code": 2}, None).id


def test_what_was_not_written_is_stood_in_for_by_the_message() -> None:
    """Programs that could not be started for the same reason are alike; others are not."""
    alike, other = (
        {
            of_end({"cause": "failed start", "message": f"cannot execute {path}: {why}"}, None, [])
            for path in paths
        }
        for why, paths in (("No such file", ("/a/b", "/c")), ("Permission denied", ("/a/b",)))
    )
    assert len(alike) == 1
    assert not alike & other
    assert of_end({"reason": "shim lost"}, None, []).line == "shim lost"


@given(st.text(max_size=300))
def test_no_line_is_too_strange(text: str) -> None:
    """Output of strangers never raises, and gives a line of bounded length."""
    found = fingerprint("exit", CODE_1, text.splitlines())
    assert len(found.line) <= 200
    assert len(found.id) == 16

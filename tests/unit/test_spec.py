"""Specs and names: what is refused when it is built, and what of it is recorded."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventstore.errors import InvalidRequest
from manager import AgentSpec, RestartPolicy
from manager.spec import HealthRule, check_name, explain

BAD: list[tuple[str, dict[str, Any]]] = [
    ("no program", {"command": ()}),
    ("an empty program", {"command": ("",)}),
    ("a NUL in an argument", {"command": ("echo", "a\0b")}),
    ("one string is not a list of arguments", {"command": "sleep 5"}),
    ("an = in a variable's name", {"env": {"A=B": "1"}}),
    ("an empty variable's name", {"env": {"": "1"}}),
    ("a NUL in a value", {"env": {"A": "x\0y"}}),
    ("a negative wait", {"stop_grace_seconds": (-1, 5, 5)}),
    ("two waits", {"stop_grace_seconds": (1, 5)}),
    ("an endless wait", {"stop_grace_seconds": (float("inf"), 5, 5)}),
    ("no number", {"start_window_seconds": float("nan")}),
    ("a code that no process can have", {"success_codes": (256,)}),
    ("a mode that no umask has", {"umask": 0o1000}),
    ("a field that there is not", {"comand": ("true",)}),
    ("an unknown end", {"until": "noon"}),
    ("a truth value as an exit code", {"success_codes": (True,)}),
    ("a truth value as a limit", {"limits": {"processes": True}}),
    ("a truth value as a wait", {"stop_grace_seconds": (True, 5, 5)}),
    ("a truth value as a number of restarts", {"restart": {"max_restarts": True}}),
    ("a label with a space", {"labels": {"a b": "c"}}),
    ("a label that is too long", {"labels": {"a": "x" * 257}}),
    ("too large for the log", {"command": ("x" * 50_000,)}),
    ("too large once the log escapes it", {"command": ("\x01" * 20_000,)}),
    ("an argument of quotes", {"command": ('"' * 40_000,)}),
    ("more arguments than the log holds", {"command": ("true", *[""] * 30_000)}),
    ("a directory longer than the log holds", {"cwd": "/" + "x" * 70_000}),
    ("a user longer than the log holds", {"user": "x" * 70_000}),
    ("more labels than the log holds", {"labels": {f"l{n:060}": "" for n in range(2_000)}}),
    ("more codes than the log holds", {"success_codes": (3,) * 30_000}),
    ("a variable's name that is no text", {"env": {"\udcff": "1"}}),
    ("a label that is no text", {"labels": {"a": "\udcff"}}),
    ("a user that is no text", {"user": "\udcff"}),
    ("a user with a NUL", {"user": "a\0b"}),
    ("a budget of none", {"restart": {"mode": "always", "max_restarts": 0}}),
    ("a rule that is no pattern", {"redact": ("(",)}),
    ("a rule that matches everywhere", {"redact": ("x*",)}),
    ("a limit of no time", {"limits": {"wall_seconds": 0}}),
    ("an endless limit", {"limits": {"cpu_seconds": float("inf")}}),
    ("a limit of half a byte", {"limits": {"memory_bytes": 0.5}}),
    ("a limit of no process", {"limits": {"processes": 0}}),
    ("a limit that there is not", {"limits": {"disk_bytes": 5}}),
    ("no silence at all", {"health": {"silence_seconds": 0}}),
    ("endless silence", {"health": {"silence_seconds": float("inf")}}),
    ("a rule that there is not", {"health": {"noise_seconds": 5}}),
    ("an unknown policy", {"restart": {"mode": "sometimes"}}),
]


@pytest.mark.parametrize("content", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_impossible_specs_are_refused(content: dict[str, Any]) -> None:
    """A spec that could not be carried out cannot be built, and the error is one line that says where."""
    with pytest.raises(ValidationError) as caught:
        AgentSpec.model_validate({"command": ("true",), **content})
    line = explain(caught.value)
    assert line.startswith("cannot use ")
    assert "\n" not in line


def test_values_of_variables_are_not_recorded() -> None:
    """The log gets the names of variables, never what they hold."""
    recorded = AgentSpec(command=("true",), env={"TOKEN": "correct-horse", "A": "b"}).recorded()
    assert recorded.env_names == ("A", "TOKEN")
    assert "correct-horse" not in repr(recorded)


def test_the_digest_tells_specs_apart() -> None:
    """Equal specs have equal digests; another value, order or key has another, and it gives nothing away."""
    spec = AgentSpec(command=("true",), env={"A": "1", "B": "2"})
    same = AgentSpec(command=("true",), env={"B": "2", "A": "1"})
    assert spec.digest(b"key") == same.digest(b"key")
    others = [
        AgentSpec(command=("true",), env={"A": "1", "B": "3"}).digest(b"key"),
        AgentSpec(command=("true", ""), env={"A": "1", "B": "2"}).digest(b"key"),
        spec.digest(b"another key"),
    ]
    assert spec.digest(b"key") not in others
    assert len(set(others)) == len(others)


def test_an_empty_list_of_rules_changed_the_digest() -> None:
    """A spec without rules of redaction, limits or health has the digest that it had in releases that knew none."""
    spec = AgentSpec(command=("true",), env={"A": "1"})
    before = spec.model_dump(mode="json", exclude={"redact", "limits", "health"})
    text = json.dumps(before, sort_keys=True, separators=(",", ":"))
    assert spec.digest(b"key") == hmac.new(b"key", text.encode(), "sha256").hexdigest()
    assert spec.digest(b"key") != AgentSpec(command=("true",), env={"A": "1"}, redact=("x",)).digest(b"key")
    ruled = AgentSpec(command=("true",), env={"A": "1"}, health=HealthRule(silence_seconds=600))
    assert spec.digest(b"key") != ruled.digest(b"key")


def test_arguments_need_not_be_text() -> None:
    """Undecodable bytes reach the program unchanged; the log shows them escaped."""
    spec = AgentSpec(command=("cat", "caf\udce9"))
    assert spec.command[1].encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert spec.recorded().command[1] == "caf\\xe9"
    assert len(spec.digest(b"key")) == 64


def test_a_path_may_be_a_path(tmp_path: Path) -> None:
    """`cwd` takes a `Path`, too."""
    assert AgentSpec(command=("true",), cwd=tmp_path).cwd == str(tmp_path)  # type: ignore[arg-type]


def test_policies_have_short_forms() -> None:
    """`RestartPolicy.on_failure(3)` is what it says."""
    assert RestartPolicy.on_failure(3) == RestartPolicy(mode="on-failure", max_restarts=3)
    assert RestartPolicy.never().mode == "never"
    assert RestartPolicy.always().max_restarts is None


@pytest.mark.parametrize("name", ["a", "7", "builder", "task-1.2_3", "A" * 64])
def test_good_names(name: str) -> None:
    """Letters, digits, `.`, `_` and `-`, up to 64 of them."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-rf", "_x", "a/b", "a b", "a\n", "a\0", "ä", "A" * 65, "a\u202eb", "../x"]
)
def test_bad_names(name: str) -> None:
    """Nothing that is a path, an option, invisible, or not plain ASCII."""
    with pytest.raises(InvalidRequest, match=r"^cannot use .+: "):
        check_name(name)


@given(st.text(max_size=70))
def test_a_name_that_is_taken_is_safe_anywhere(name: str) -> None:
    """Whatever passes can be a file's name, a word in a shell and a line in a log."""
    try:
        check_name(name)
    except InvalidRequest:
        return
    assert name.isascii()
    assert name[0].isalnum()
    assert not set(name) & set("/\\ \n\t'\"$&|;<>*?()`~#")

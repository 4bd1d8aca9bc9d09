"""Whatever comes over the control socket, the coordinator lives, answers, serves others, and records what it did."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager import Manager, control
from tests.fuzz.control_requests import (
    ENDED,
    LIVING,
    Answer,
    connected,
    hear,
    mutated,
    say,
    tell,
    true_requests,
)
from tests.fuzz.hostile import examples, values
from tests.support.agents import QUICK, program
from tests.support.promises import clean_up, log_is_whole
from tests.support.story import MARK
from tests.support.tally import Tally


class Target:
    """A coordinator with an agent that lives and one that has ended."""

    def __init__(self, home: Path, manager: Manager) -> None:
        self.manager = manager
        self.socket = home / "control.sock"
        self.requests = true_requests({MARK: str(home)})
        self._home = home
        self._asked = 0

    def asks(self, content: object) -> Answer:
        """One request, and then one of a good client, who must be served; what was refused has left no trace."""
        self.is_ready()
        self._asked += 1
        name = f"client-{self._asked}"
        if isinstance(content, dict):
            content = {**content, "actor": name}
        answer = say(self.socket, json.dumps(content).encode() + b"\n")
        assert answer.messages, "it hung up without an answer"
        if answer.refusal is not None:
            assert "unexpected" not in answer.refusal
            assert self.recorded(name) == 0, "it was refused, and is in the log"
        self.serves_others()
        return answer

    def recorded(self, name: str) -> int:
        """How many events are there because of this client."""
        query = "SELECT count(*) FROM events WHERE actor LIKE ?"
        [(count,)] = self.manager._view.reader.rows(query, (f"%/{name}",))
        return int(count)

    def serves_others(self) -> None:
        """A client that asks for something it may have gets it."""
        wait = {"agents": [ENDED], "any": False, "timeout": 60}
        found = control.ask(self.socket, "wait", wait, actor="good")
        assert [agent["name"] for agent in found] == [ENDED]

    def is_ready(self) -> None:
        """Make it so that there is an agent that lives, whatever the last request did to it."""
        while not (self.manager._view.agents(vitals=False)):
            spec = program(self._home, "sleep", "1000", start_window_seconds=0, stop_grace_seconds=QUICK)
            self.manager.spawn(spec, LIVING)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One coordinator for all examples."""
    home = tmp_path_factory.mktemp("control") / "home"
    try:
        with Manager.open(home, actor="test") as manager:
            manager.spawn(program(home, "true", start_window_seconds=0), ENDED)
            manager.wait(ENDED)
            found = Target(home, manager)
            yield found
            manager.kill_all()
            log_is_whole(manager)
    finally:
        clean_up(home)


def test_every_kind_of_true_request_is_carried_out(target: Target) -> None:
    """What the others change is carried out as it is: nothing is refused for another reason."""
    for request in target.requests:
        assert "result" in target.asks(request).messages[-1]


@examples(100)
@given(values | st.dictionaries(st.sampled_from(["method", "arguments", "actor", "x"]), values))
def test_json_of_the_wrong_shape_is_refused(target: Target, tally: Tally, content: object) -> None:
    """Objects and other values in the place of a request."""
    tally("fuzz requests over the control socket")
    assert target.asks(content).refusal


@examples(300)
@given(st.data())
def test_a_request_with_something_changed_is_carried_out_or_refused(
    target: Target, tally: Tally, data: st.DataObject
) -> None:
    """Fields that lack, are too many, or hold something else, at any depth."""
    request = data.draw(mutated(target.requests))
    tally("fuzz requests over the control socket")
    target.asks(request)


raw = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode())


@examples(100)
@given(raw, st.lists(st.integers(0, 200), max_size=4), st.booleans())
def test_bytes_without_a_meaning_are_refused(
    target: Target, tally: Tally, content: bytes, cuts: list[int], is_ended: bool
) -> None:
    """Also in pieces, and where the line has no end."""
    tally("fuzz bytes over the control socket")
    places = [0, *sorted(cuts), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(places)]
    answer = say(target.socket, *pieces, b"\n" if is_ended else b"")
    assert answer.refusal if content or is_ended else not answer.messages
    target.serves_others()


@examples(30)
@given(st.data())
def test_a_request_that_is_cut_short_is_refused(target: Target, tally: Tally, data: st.DataObject) -> None:
    """Its client has closed its side, or is gone altogether."""
    content = json.dumps({**data.draw(st.sampled_from(target.requests)), "actor": "short"}).encode() + b"\n"
    part = content[: data.draw(st.integers(1, len(content) - 2))]
    tally("fuzz requests cut short")
    if data.draw(st.booleans()):
        assert say(target.socket, part).refusal
    else:
        with connected(target.socket) as connection:
            tell(connection, part)
    target.serves_others()
    assert target.recorded("short") == 0


@examples(15)
@given(st.data())
def test_requests_that_come_side_by_side_do_not_mix(
    target: Target, tally: Tally, data: st.DataObject
) -> None:
    """Many connections, a piece of each in turn: each gets the answer to its own request."""
    wait = next(one for one in target.requests if one["method"] == "wait")
    contents = data.draw(st.lists(st.just(wait) | values, min_size=2, max_size=12))
    step = data.draw(st.integers(1, 100))
    tally("fuzz requests side by side")
    lines = [json.dumps(content).encode() + b"\n" for content in contents]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(target.socket)) for _ in lines]
        for start in range(0, max(map(len, lines)), step):
            for connection, line in zip(connections, lines, strict=True):
                tell(connection, line[start : start + step])
        for connection, content in zip(connections, contents, strict=True):
            assert ("result" in hear(connection).messages[-1]) == (content == wait)
    target.serves_others()

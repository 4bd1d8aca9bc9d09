"""Finding agents: by name, id or the beginning of an id, filtered by state and label."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from eventstore import events as ev
from eventstore.errors import AmbiguousAgent, UnknownAgent
from eventstore.reader import Reader
from projections import queries
from projections.agents import AgentsProjection
from tests.store.conftest import Database
from tests.support.histories import PROCESS, SPEC, new, reaped, spawning

FINISHED: list[ev.AgentEvent] = [
    ev.AgentStarted(attempt=1, process=PROCESS),
    reaped(),
    ev.AgentFailed(attempt=1, cause="exit", message="7", phase=None, errno=None, last_output=None),
]


@pytest.fixture
def reader(database: Database) -> Iterator[Reader]:
    """Two ended agents and a live one of the name `web`, and a live `db`; ids 11…, 12…, 21…, 31…."""
    store = database.open(inline=[AgentsProjection()])
    for at, (agent_id, name, labels, rest) in enumerate(
        [
            ("11aa", "web", {"team": "red"}, FINISHED),
            ("12bb", "web", {"team": "blue"}, FINISHED),
            ("21cc", "web", {"team": "blue", "tier": "1"}, []),
            ("31dd", "old", {}, FINISHED),
        ]
    ):
        first = replace(spawning(name=name), spec=replace(SPEC, labels=labels))
        events = [new(event, at=at * 100) for event in [first, *rest]]
        store.append(f"agent/{agent_id}", events, expected_version=0, epoch=None)
    reader = Reader.open(database.url)
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("web", "21cc"),  # the live one of that name
        ("old", "31dd"),  # an ended one
        ("12bb", "12bb"),  # an id, though its name has a newer holder
        ("2", "21cc"),  # the only id that begins so
        ("12", "12bb"),
    ],
)
def test_an_agent_is_found_by_name_id_or_beginning(reader: Reader, reference: str, found: str) -> None:
    """A name means the agent that has not ended, else the newest; an id, or an unambiguous beginning, is itself."""
    assert queries.agent(reader, reference).agent_id == found


def test_the_newest_of_an_ended_name(reader: Reader, database: Database) -> None:
    """When all agents of a name have ended, the name means the newest."""
    store = database.opened[0]
    store.append("agent/21cc", [new(event) for event in FINISHED], expected_version=1, epoch=None)
    assert queries.agent(reader, "web").agent_id == "21cc"


@pytest.mark.parametrize("reference", ["nobody", "", "web%", "_1", "9", "12bbx"])
def test_what_is_not_there_is_not_found(reader: Reader, reference: str) -> None:
    """No pattern characters, no empty beginning: an unknown reference is an error that repeats it."""
    with pytest.raises(UnknownAgent) as caught:
        queries.agent(reader, reference)
    assert caught.value.reference == reference


def test_a_beginning_that_fits_several_is_refused(reader: Reader) -> None:
    """The candidates are named."""
    with pytest.raises(AmbiguousAgent) as caught:
        queries.agent(reader, "1")
    assert caught.value.candidates == ("11aa", "12bb")


def test_filters(reader: Reader) -> None:
    """By whether it has ended, by state or states, by all of the labels, by home."""

    def ids(**filters: object) -> list[str]:
        return [row.agent_id for row in queries.agents(reader, **filters)]  # type: ignore[arg-type]

    assert ids() == ["11aa", "12bb", "21cc", "31dd"]
    assert ids(include_final=False) == ["21cc"]
    assert ids(state="FAILED") == ["11aa", "12bb", "31dd"]
    assert ids(state=["SPAWNING", "RUNNING"]) == ["21cc"]
    assert ids(labels={"team": "blue"}) == ["12bb", "21cc"]
    assert ids(labels={"team": "blue", "tier": "1"}) == ["21cc"]
    assert ids(home="elsewhere") == []
    assert queries.counts(reader) == {"FAILED": 3, "SPAWNING": 1}
    assert queries.counts(reader, home="elsewhere") == {}


def test_rows_have_the_types_they_say(reader: Reader) -> None:
    """Booleans are booleans, labels a mapping, the command a tuple."""
    row = queries.agent(reader, "12bb")
    assert row.is_final is True
    assert row.labels == {"team": "blue"}
    assert row.command == SPEC.command
    assert [attempt.state for attempt in queries.attempts(reader, "12bb")] == ["FAILED"]
    assert queries.attempts(reader, "nobody") == []

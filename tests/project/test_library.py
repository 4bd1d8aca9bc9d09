"""What the documents say of the library is there under the names that they use."""

from __future__ import annotations

import re

import manager
from eventstore.errors import OutliveError
from manager import AsyncManager, Manager
from tests.project.source import ROOT

DOCUMENT = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
OF_COORDINATORS = {"spawn_prepared"}  # what requests of others are carried out with


def test_every_documented_error_can_be_imported() -> None:
    """Each name in the table of errors, from `manager`."""
    table = DOCUMENT.partition("## Errors")[2]
    names = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([A-Z]\w+)`", row)
    }
    assert len(names) > 12
    assert [name for name in names if not issubclass(getattr(manager, name), OutliveError)] == []


def test_a_star_brought_no_names() -> None:
    """`from manager import *` gives what can be imported by name, though it is loaded only when it is used."""
    found: dict[str, object] = {}
    exec("from manager import *", found)
    assert {"Manager", "AgentSpec", "RestartPolicy", "TimedOut"} <= found.keys()
    assert found["Manager"] is Manager


def test_every_documented_method_is_there() -> None:
    """Each name in the table of methods."""
    table = DOCUMENT.partition("## Methods")[2].partition("## Errors")[0]
    names = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)", row)
    }
    assert {"spawn", "stop_many", "reap_zombies"} <= names
    assert [name for name in names if not hasattr(Manager, name)] == []


def test_the_asynchronous_manager_has_the_same_names() -> None:
    """As the documents promise."""
    public = {name for name in dir(Manager) if not name.startswith("_")} - OF_COORDINATORS
    assert public - set(dir(AsyncManager)) == set()

"""`why --format html`: one file that loads nothing and runs nothing, whatever the agent is called, says or is told."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from manager.cli.main import main
from tests.support import three_attempts
from tests.support.three_attempts import HOSTILE

VOID = {"meta", "br", "img", "link", "input", "hr"}
LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "base", "form"}
HEADINGS = [
    "Evidence", "Who asked", "Last lines of its output", "Its life", "What happened", "What followed",
    "What was left over", "Who failed alike", "The agent", "Proof",
]  # fmt: skip


class Page(HTMLParser):
    """The elements and attributes of a page, and the text of its elements; fails where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An empty element."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._open[-1:] == ["h2"]:
            self.headings.append(data)
        if self._open[-1:] != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose agent had three attempts."""
    place = tmp_path_factory.mktemp("pages") / "home"
    three_attempts.write(place)
    return place


def _page(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--home", str(home), *arguments, "--format", "html", "--utc"]) == 0
    return capsys.readouterr().out


def test_the_file_is_whole_and_harmless(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No element loads or runs anything, no attribute is an event's or an address; hostile text is text."""
    text = _page(home, capsys, "why", "indexer", "--attempt", "2")
    page = Page(text)
    assert LOADING.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert all(value.startswith("#p") for name, value in page.attributes if name in ("href", "xlink:href"))
    assert HOSTILE in page.text
    assert "default-src 'none'; style-src 'sha256-" in text
    assert text.count("<svg") == 6  # all attempts and this one, for three widths
    assert page.headings == HEADINGS


def test_the_picture_is_well_formed_and_says_what_it_shows(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each picture has a title; its lanes are named; the stop is drawn by itself where it would be too small."""
    text = _page(home, capsys, "why", "indexer")
    pictures = [ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>") for part in text.split("<svg")[1:]]
    assert len(pictures) == 9
    titles = {picture.findtext("title") for picture in pictures}
    assert titles == {
        "all 3 attempts: 1h05m from 2025-11-25 19:46:42.000",
        "attempt 3: 29m40s from 2025-11-25 20:22:57.822",
        "how it was stopped: 16s from 2025-11-25 20:51:39.622",
    }
    lanes = [label.text for label in pictures[0].iter("text") if label.get("class") == "name"]
    assert lanes == ["attempts", "state", "stop", "signals", "health", "memory", "CPU", "coordinator"]
    told = {title.text for title in pictures[0].iter("title")}
    assert "SIGKILL, sent by the kernel, for want of memory" in told
    assert "attempt 2: FAILED, exit code 3, 1m30s long" in told


def test_the_page_of_the_past_ends_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a position the page tells of what was known then: the second attempt still ran."""
    events = [json.loads(line) for line in _events(home, capsys)]
    position = next(e["position"] for e in events if e["attempt"] == 2 and e["type"] == "RUNNING")
    page = Page(_page(home, capsys, "at", str(position), "why", "indexer"))
    assert "indexer (attempt 2) was RUNNING, as far as was recorded by then." in page.text
    assert "post-mortem · indexer · attempt 2 of 2" in page.text
    assert "attempt 3" not in page.text


def _events(home: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["--home", str(home), "events", "--json"]) == 0
    return capsys.readouterr().out.splitlines()

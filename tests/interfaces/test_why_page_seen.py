"""The page of `why` in a real browser: it fits the screen, asks for nothing, and nothing in it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager.cli.main import main
from tests.support import three_attempts
from tests.support.three_attempts import HOSTILE

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 100_000  # milliseconds: a loaded machine is slow, and not wrong

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
# What sticks out of its picture to the right, with the text of it.
STICKS_OUT = """
[...document.querySelectorAll("svg.life")].filter(svg => svg.getClientRects().length).flatMap(svg => {
  const right = svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBBox()])
    .filter(([_, box]) => box.x < -2 || box.x + box.width > right + 8).map(([words, _]) => words);
})
"""
SHOWN = """[...document.querySelectorAll("svg.life")].map(svg => svg.getBoundingClientRect())
  .filter(box => box.width).map(box => Math.round(box.width))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of its own."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose agent had three attempts."""
    place = tmp_path_factory.mktemp("seen") / "home"
    three_attempts.write(place)
    return place


@pytest.mark.parametrize("attempt", [2, 3])
def test_it_fits_and_is_quiet_on_every_screen(
    browser: Any, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], attempt: int
) -> None:
    """From a telephone to a wide screen and on paper: no sideways scrolling, no message, no request, no dialogue."""
    assert main(["--home", str(home), "why", "indexer", "--attempt", str(attempt), "--format", "html"]) == 0
    file = tmp_path / "page.html"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    told: list[str] = []
    page.on("console", lambda message: told.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: told.append(f"dialogue: {dialog.message}"))
    page.on("request", lambda request: told.append(f"request: {request.url}"))
    page.goto(file.as_uri())
    for width, scheme in ((360, "light"), (719, "dark"), (720, "light"), (1129, "dark"), (1600, "light")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        assert page.evaluate(STICKS_OUT) == [], width
        shown = page.evaluate(SHOWN)
        assert shown, width
        assert all(250 <= each <= width for each in shown), width
    page.emulate_media(media="print")
    assert page.evaluate(SHOWN)
    assert HOSTILE in page.inner_text("main")
    assert page.query_selector_all("script, img, iframe") == []
    page.close()
    assert told == [f"request: {file.as_uri()}"]

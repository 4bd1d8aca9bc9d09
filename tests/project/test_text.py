"""Words rot: what the documents and comments name must exist, and nothing names one person's machine."""

import re
from pathlib import Path

from tests.project.source import ROOT, text_files

SUFFIXES = "css|html|ini|js|mako|md|py|sh|sql|svg|toml"
NAMED_PATH = re.compile(rf"`((?:[\w.-]+/)+[\w.-]+\.(?:{SUFFIXES}))`")
IMAGE_OR_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
BINARY = {".gif", ".ico", ".jpg", ".png", ".pyc", ".whl", ".woff2"}

NOT_OURS = {
    "a path on one machine": re.compile(r"(?<![\w.}])/(?:home|opt|root|Users|work)/[\w.]"),
    "a package registry": re.compile(r"(?<!no-emit-)(?:index-url|find-links|trusted-host)(?=[\s=])|https?://\S+/simple\b"),
    "unfinished work": re.compile(r"\b(?:FIX" r"ME|TO" r"DO|X" r"XX)\b"),
}  # fmt: skip


def test_every_path_in_the_documents_exists() -> None:
    """A path in backticks and a relative link lead somewhere."""
    missing = []
    for document in _texts({".md"}):
        text = document.read_text(encoding="utf-8")
        named = [ROOT / match for match in NAMED_PATH.findall(text)]
        linked = [document.parent / match for match in IMAGE_OR_LINK.findall(text)]
        missing += [f"{_relative(document)}: {path}" for path in [*named, *linked] if not path.exists()]
    assert missing == []


def test_every_path_in_a_comment_exists() -> None:
    """A comment that sends the reader to another file sends them to one that is there."""
    missing = [
        f"{_relative(source)}: {match}"
        for source in _texts({".py"})
        for match in NAMED_PATH.findall(source.read_text(encoding="utf-8"))
        if not (ROOT / match).exists()
    ]
    assert missing == []


def test_nothing_names_one_machine() -> None:
    """A stranger's checkout works: no path, registry or unfinished thought of the machine that wrote it."""
    found = [
        f"{_relative(path)}:{number}: {what}: {line.strip()[:80]}"
        for path in text_files()
        if path.suffix not in BINARY
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        )
        for what, pattern in NOT_OURS.items()
        if pattern.search(line)
    ]
    assert found == []


def _texts(suffixes: set[str]) -> list[Path]:
    return [path for path in text_files() if path.suffix in suffixes]


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))

"""A set-up today and a set-up in a year install the same bytes."""

import re
import tomllib

from tests.project.source import ROOT

PIN = re.compile(r"^([\w.-]+)==(\S+) \\$")


def _pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return {found[1].lower().replace("_", "-"): found[2] for line in lines if (found := PIN.match(line))}


def test_every_requirement_is_pinned_with_hashes() -> None:
    """Every line of the lock is a comment, a pin or a hash; every pin has at least one hash."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    strange = [
        line for line in lines if not (line.startswith(("#", "    --hash=sha256:")) or PIN.match(line))
    ]
    assert strange == []
    unhashed = [line for line, after in zip(lines, [*lines[1:], ""], strict=True)
                if PIN.match(line) and "--hash" not in after]  # fmt: skip
    assert unhashed == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """A dependency added to the project is in the lock too (`make lock`)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0].lower() for requirement in wanted}
    assert names - set(_pins()) == set()

"""Somebody without root's rights: whom no mode holds up is no judge of modes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.others import MODULES, SOMEBODY, Other
from tests.support.promises import clean_up


@dataclass(frozen=True)
class Ordinary:
    """Runs Python programs on a home of theirs; `credentials` are what `subprocess` needs to become them."""

    python: str
    home: Path
    credentials: dict[str, Any]

    def runs(
        self, program: str, *arguments: str, umask: int = 0o022, home: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """One finished program, given the home and the arguments."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": MODULES, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [self.python, "-c", program, str(home or self.home), *arguments],
            env={**environment, **variables},
            cwd="/",
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **self.credentials,
        )


@contextmanager
def ordinary_user(place: Path) -> Iterator[Ordinary]:
    """Ourselves; another uid where we are root."""
    with contextlib.ExitStack() as stack:
        if os.geteuid() != 0:
            somebody = Ordinary(sys.executable, place / "home", {})
        else:
            other = stack.enter_context(Other.create())
            credentials = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []}
            somebody = Ordinary(other.python, other.home, credentials)
        stack.callback(clean_up, somebody.home)
        yield somebody

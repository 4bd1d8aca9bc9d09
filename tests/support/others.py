"""A Python that a user without any rights may run, with the modules under test: root's own may be kept below /root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SOMEBODY = 64_321  # a uid that nobody has, so that its processes are those of a test
MODULES = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])  # for PYTHONPATH


def python_for_others() -> str | None:
    """The interpreter in use, else the system's of the same version; None where nobody may run ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if candidate is not None and _runs(candidate):
            return candidate
    return None


class Other:
    """Somebody with a directory of their own, and a home in it, who runs `outlive`."""

    def __init__(self, python: str, place: Path) -> None:
        self.place = place
        self.home = place / "home"
        self._python = python

    @classmethod
    @contextmanager
    def create(cls) -> Iterator[Other]:
        """One with the uid `SOMEBODY`; skips the test where nobody else may run our modules. Needs root."""
        python = python_for_others()
        if python is None:
            pytest.skip("needs an interpreter and a checkout that other users may read")
        place = Path(tempfile.mkdtemp(prefix="outlive-test-"))
        os.chown(place, SOMEBODY, SOMEBODY)
        try:
            yield cls(python, place)
        finally:
            shutil.rmtree(place)

    @property
    def python(self) -> str:
        """An interpreter that they may run."""
        return self._python

    def outlive(self, *arguments: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """One finished command of theirs; `before`: a prefix like `prlimit …`."""
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": MODULES,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OUTLIVE_HOME": str(self.home),
        }
        return subprocess.run(
            [*before, self._python, "-m", "manager.cli.main", *arguments],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            user=SOMEBODY,
            group=SOMEBODY,
            extra_groups=[],
        )


def _runs(python: str) -> bool:
    try:
        tried = subprocess.run(
            [python, "-c", "import manager.demo, sqlalchemy, pydantic, psutil"],
            env={"PYTHONPATH": MODULES, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            capture_output=True,
            check=False,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
        )
    except PermissionError:
        return False
    return tried.returncode == 0

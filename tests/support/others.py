"""A Python that a user without any rights may run, with the modules under test: root's own may be kept below /root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
MODULES = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])  # for PYTHONPATH


def python_for_others() -> str | None:
    """The interpreter in use, else the system's of the same version; None where nobody may run ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if candidate is not None and _runs(candidate):
            return candidate
    return None


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

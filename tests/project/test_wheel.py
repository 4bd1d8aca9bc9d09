"""The wheel is the product: what it installs works anywhere, also beside folders named like our packages."""

import json
import os
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.project.source import PACKAGES, ROOT, modules

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DECOY = 'import os\nprint("a decoy was imported", flush=True)\nos._exit(99)\n'


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree as it stands."""
    target = tmp_path_factory.mktemp("dist")
    done = _run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(target),
        str(ROOT),
        cwd=target,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("outlive-*.whl")
    return built


@pytest.fixture(scope="module")
def outlive(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the installed command, in a fresh environment that borrows the dependencies of this one."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    interpreter = str(place / "bin" / "python")
    done = _run(
        *(sys.executable, "-m", "pip", "--python", interpreter),
        *("install", "--quiet", "--no-deps", "--no-index", str(wheel)),
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    # A .pth line adds the folder but not the .pth files in it, so this checkout stays out of reach.
    (libraries,) = (place / "lib").glob("python3*/site-packages")
    (libraries / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return str(place / "bin" / "outlive")


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A folder whose own `manager`, `eventstore` and `projections` end any program that imports them."""
    for package in (*PACKAGES, "migrations"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(DECOY)
    return tmp_path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home; afterwards no process that was started for it is left."""
    place = tmp_path / "outlive-home"
    yield place
    for process in psutil.process_iter():
        try:
            ours = str(place) in " ".join(process.cmdline()) or str(place) in process.environ().values()
            if ours or any(str(place) in str(opened.path) for opened in process.open_files()):
                process.kill()
        except psutil.Error:
            continue


def test_the_wheel_holds_every_module_and_the_migrations(wheel: Path) -> None:
    """What is in the checkout is in the wheel; the migrations ride inside `eventstore`, the tests stay out."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {module.path for package in PACKAGES for module in modules(package)}
    migrations = {m.path.replace("migrations/", "eventstore/_migrations/", 1) for m in modules("migrations")}
    assert migrations, "there are no migrations to ship"
    templates = {str(path.relative_to(ROOT)) for path in ROOT.glob("manager/**/templates/*")}
    assert templates, "there are no templates to ship"
    assert (expected | migrations | templates) - names == set()
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(PACKAGES)


def test_the_installed_command_ignores_decoys(outlive: str, decoys: Path, home: Path) -> None:
    """In a folder with its own `manager` and `eventstore`, `outlive` still runs, lists, verifies and kills."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(outlive, "--home", str(home), *arguments, cwd=decoys)

    started = call("run", "--name", "sleeper", "--", "sleep", "300")
    assert started.returncode == 0, started.stdout + started.stderr
    listed = call("--json", "ps")
    assert listed.returncode == 0, listed.stderr
    (agent,) = json.loads(listed.stdout)["agents"]
    assert (agent["name"], agent["state"]) == ("sleeper", "RUNNING")
    assert psutil.Process(agent["pid"]).cmdline() == ["sleep", "300"]
    verified = call("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    killed = call("kill", "sleeper")
    assert killed.returncode == 0, killed.stderr
    assert not psutil.pid_exists(agent["pid"])

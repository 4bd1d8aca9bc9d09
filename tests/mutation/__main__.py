"""Are the tests of the decisions sharp? `python -m tests.mutation --mutants 100 --seed 1 [FILE …]`.

Each mutant is a copy of the tree with one small mistake; the fast tests must fail. Those that survive are printed.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.namespace import UNSHARE
from tests.mutation.mutants import mutants

ROOT = Path(__file__).parents[2]
PARTS = ("eventstore", "projections", "manager", "migrations", "tests", "docs", "README.md", "pyproject.toml")
FILES = (
    "eventstore/chain.py",
    "eventstore/lifecycle.py",
    "manager/deadlines.py",
    "manager/decide.py",
    "manager/judge.py",
    "manager/limits.py",
    "manager/process/identity.py",
    "manager/recovery.py",
    "manager/restart.py",
    "manager/silence.py",
)
PURE = ("tests/unit", "tests/model")
TESTS = {"manager/process/identity.py": ("tests/processes/test_identity.py", "tests/processes/test_tree.py",
                                         "tests/processes/test_fallbacks.py", "tests/processes/test_proofs.py",
                                         "tests/manager/test_reused_pids.py")}  # fmt: skip
TIMEOUT_SECONDS = 300
Mutant = tuple[str, int, str, str]


def copy_of_the_tree(place: Path) -> Path:
    """A directory in which one file after the other can be spoilt."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, place / part)
    return place


def survives(tree: Path, mutant: Mutant) -> bool:
    """Whether the fast tests pass with the mutant in the tree; one that hangs is noticed, too."""
    file, _, _, source = mutant
    near = [str(one.relative_to(tree)) for one in tree.glob(f"tests/unit/test_{Path(file).stem}*.py")]
    (tree / file).write_text(source)
    try:
        return all(tests_pass(tree, tests, mutated=True) for tests in (near, TESTS.get(file, PURE)) if tests)
    finally:
        shutil.copy2(ROOT / file, tree / file)  # as old as what was compiled


def tests_pass(tree: Path, tests: Sequence[str], *, mutated: bool) -> bool:
    """Whether these tests pass in the tree."""
    # A mutant may take any process for an agent's, and kill it: it sees none but its own.
    alone = [*UNSHARE, sys.executable, "-m", "tests.faults.namespace"]
    command = [*alone, "pytest", "-qx", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    if mutated:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # what was compiled of the true tree is used, and stays
    else:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Print what survives and the counts; 0 unless the tests fail on the true tree."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--mutants", type=int, default=0, help="a sample of so many; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("files", nargs="*", default=FILES)
    asked = parser.parse_args()
    if os.geteuid() != 0:
        parser.error(
            "cannot try mutants: they may signal any process, so each needs a pid namespace; run it as root"
        )
    every: list[Mutant] = [
        (file, *mutant) for file in asked.files for mutant in mutants((ROOT / file).read_text())
    ]
    chosen = random.Random(asked.seed).sample(every, min(asked.mutants or len(every), len(every)))
    print(f"{len(chosen)} of {len(every)} mutants, seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        true = copy_of_the_tree(Path(directory, "true"))
        if not tests_pass(true, [one for tests in (PURE, *TESTS.values()) for one in tests], mutated=False):
            print("the tests fail without a mutant", file=sys.stderr)
            return 1
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(asked.workers):
            trees.put(shutil.copytree(true, Path(directory, str(number))))
        _judge(trees, chosen, asked.workers)
    return 0


def _judge(trees: queue.SimpleQueue[Path], chosen: list[Mutant], workers: int) -> None:
    def one(mutant: Mutant) -> tuple[Mutant, bool]:
        tree = trees.get()
        try:
            return mutant, survives(tree, mutant)
        finally:
            trees.put(tree)

    made: Counter[str] = Counter()
    left: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        for (file, line, what, _), survived in pool.map(one, chosen):
            made[file] += 1
            left[file] += survived
            if survived:
                print(f"survived: {file}:{line}: {what}", flush=True)
    print(f"{'mutants':>8}{'killed':>8}{'survived':>10}  file")
    for file in sorted(made):
        print(f"{made[file]:8}{made[file] - left[file]:8}{left[file]:10}  {file}")


if __name__ == "__main__":
    sys.exit(main())

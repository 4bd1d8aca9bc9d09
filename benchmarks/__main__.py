"""`python -m benchmarks`: run them one after the other, each in a process of its own, into results.md."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import machine
from benchmarks.longlog import KEPT_LOGS
from benchmarks.standing import RESULTS, section

NAMES = (
    "spawn",
    "stubborn",
    "short",
    "idle",
    "memory",
    "recovery",
    "growth",
    "exits",
    "sweep",
    "listing",
    "appends",
    "postgres",
    "verify",
    "prediction",
)


def main() -> int:
    """Write the results; 1 if a benchmark failed, which the results then say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="may be given more than once")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = [_head()]
    has_failed = False
    with tempfile.TemporaryDirectory(prefix="outlive-bench-logs-") as logs:
        for name in arguments.only or NAMES:
            sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {name} …\n")
            status, printed = run([sys.executable, "-m", f"benchmarks.{name}"], {KEPT_LOGS: logs})
            has_failed = has_failed or status != 0
            failure = f"## {name}\n\nFailed with status {status}; run `python -m benchmarks.{name}`.\n"
            parts.append(failure if status else printed.rstrip() + "\n")
            measured = "\n".join(parts)
            arguments.output.write_text(f"{measured}\n{section(measured)}", encoding="utf-8")
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} written to {arguments.output}\n")
    return 1 if has_failed else 0


def run(command: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """Its exit status and what it printed, when it has ended; a ^C goes to it, too, and what it clears away is awaited.

    `subprocess.run` would kill it after a quarter of a second: its agents and its mounted file system would stay.
    """
    environment = {**os.environ, **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()
            raise
    return process.returncode, printed


def _head() -> str:
    facts = "\n".join(f"* {name}: {value}" for name, value in machine().items())
    return (
        "# Results\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}. Each figure is a median with the least and the most "
        "in brackets. They belong to this machine and this hour, and other work may have run beside; ratios within a "
        f"table, whose rows were measured in turn, are what can be compared.\n\n{facts}\n"
    )


if __name__ == "__main__":
    sys.exit(main())

"""`make fuzz`: each target for some seconds, its corpus in a temporary directory that begins with true inputs."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from manager.process import procfs
from manager.process.attempt_dir import encode
from manager.process.frames import encode_frame
from manager.spec import AgentSpec
from tests.fuzz.hostile import true_records
from tests.fuzz.test_codec import TRUE

NAMES = ("rows", "records", "frames", "requests", "specs", "typed")
LONGEST_BYTES = 8192
INTERESTING = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def true_inputs(name: str) -> Iterator[bytes]:
    """What a target is given when nothing is wrong."""
    bodies = true_records(procfs.boot_id(), procfs.pid_namespace())
    spec = AgentSpec(command=("true",), env={"A": "b"}, labels={"k": "v"}).model_dump(mode="json")
    match name:
        case "rows":
            yield from (json.dumps(body).encode() for known in TRUE.values() for body in known)
        case "records":
            for known in bodies.values():
                yield from (encode(body) for body in known)
                yield from (json.dumps({**body, "attempt": "agent/1"}).encode() for body in known)
        case "frames":
            yield from (encode_frame(body) for known in bodies.values() for body in known)
        case "requests":
            yield json.dumps(spec).encode() + b"\n"
            yield (
                json.dumps({"env": {"A": "b"}, "cwd": "/", "umask": 18, "nofile": [64, 64]}).encode() + b"\n"
            )
        case "specs":
            yield from (json.dumps(body).encode() for body in bodies["spec"])
            yield b"# comment\nA=b\n"
        case "typed":
            yield from (b"1m30s", b"10s,5s,5s", b"k=v", b"RTMIN+2", b"2026-11-22T14:00:00Z", b"2h ago")
            yield from (b"0,3", b"on-failure:3", b"027", b"sqlite:////a/b.db")


def fuzz(name: str, seconds: int, place: Path) -> bool:
    """Run one target; whether it held."""
    corpus = place / name
    corpus.mkdir()
    for number, content in enumerate(true_inputs(name)):
        (corpus / str(number)).write_bytes(content)
    command = [sys.executable, "-m", "tests.fuzz.targets", name]
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", "-timeout=20", "-rss_limit_mb=4096"]
    kept = f"-artifact_prefix={place}/{name}-"
    done = subprocess.run(
        [*command, *limits, kept, "-print_final_stats=1", str(corpus)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    runs = INTERESTING.search(done.stderr)
    grown = len(list(corpus.iterdir()))
    print(
        f"{runs[1] if runs else '?':>9}  {int(done.returncode != 0):>10}  fuzz {name}; corpus of {grown}",
        flush=True,
    )
    if done.returncode == 0:
        return True
    print(done.stderr[-4000:])
    for found in sorted(place.glob(f"{name}-*")):
        if found.is_file():
            print(f"input: {found.read_bytes()!r}\nrepeat it: {' '.join(command)} {found}")
    return False


def main() -> int:
    """Run all targets; 1 if one of them failed, with its input and how to repeat it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("names", nargs="*", default=NAMES)
    asked = parser.parse_args()
    print(f"{'runs':>9}  {'violations':>10}  target", flush=True)
    place = Path(tempfile.mkdtemp(prefix="outlive-fuzz-"))
    held = [fuzz(name, asked.seconds, place) for name in asked.names]
    if all(held):
        shutil.rmtree(place)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())

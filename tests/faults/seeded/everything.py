"""One run in which nearly everything happens: every kind of end, restarts, signals, a lost shim, two coordinators.

The agents by name:

    quick    exits with 7                         orphan   loses its shim, is killed: its coordinator saw the exit
    done     exits with 0                         lost     loses its shim and its coordinator, is killed: unknown
    keeper   beats, gets SIGUSR1, is stopped      absent   has no such program
    family   is deaf to SIGTERM, has a child      early    exits with 4 within its start window
    retry    exits with 3, and twice more         runner   beats until the end
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.faults.driven import Driven
from tests.faults.run import Run
from tests.support.processes import eventually

USR1 = 10


def happen(run: Run, *, under: tuple[str, ...] = ()) -> None:
    """Let it all happen, and leave the home to be judged. `under`: what the second coordinator is started by."""
    canary = run.canary()
    first = run.coordinator()
    ids = _spawn(run, first)
    eventually(lambda: len(run.told_by_agents("BEAT")) > 8, "they beat")
    _lose_shim(run, ids["orphan"])
    run.kill("agent", _pid(run, ids["orphan"]), agent=ids["orphan"])
    first.ask("wait", agents=[ids["quick"], ids["done"], ids["retry"], ids["orphan"], ids["early"]])
    run.snapshot()
    run.view()
    first.kill()
    _lose_shim(run, ids["lost"])
    pid = _pid(run, ids["lost"])
    run.kill("agent", pid, agent=ids["lost"])
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "init reaps it")
    with run.coordinator(under=under) as second:
        second.ask("signal", agents=[ids["keeper"]], signal=USR1)
        second.ask("stop", agents=[ids["keeper"]])
        second.ask("stop", agents=[ids["family"]])
    assert canary.stdin is not None
    canary.stdin.close()
    canary.wait(timeout=60)


def _spawn(run: Run, coordinator: Driven) -> dict[str, str]:
    again = {"mode": "on-failure", "max_restarts": 2, "backoff_seconds": 0.2}
    specs = {
        "quick": run.agent("--exit-after", "0.3", "--code", "7"),
        "done": run.agent("--exit-after", "0.3"),
        "keeper": run.agent("--beat"),
        "family": run.agent("--ignore", "TERM", "--fork", "1"),
        "retry": run.agent("--exit-after", "0.2", "--code", "3", restart=again),
        "orphan": run.agent("--beat"),
        "lost": run.agent("--beat"),
        "absent": run.agent() | {"command": ["/nonexistent/program"]},
        "early": run.agent("--exit-after", "0", "--code", "4", start_window_seconds=30.0),
        "runner": run.agent("--beat"),
    }
    return dict(zip(specs, coordinator.spawn(*specs.values(), names=list(specs), wait=False), strict=True))


def _lose_shim(run: Run, agent: str) -> None:
    identity = json.loads((run.home / "agents" / agent / "1" / "identity.json").read_bytes())["body"]
    run.kill("shim", identity["shim_pid"], agent=agent)


def _pid(run: Run, agent: str) -> int:
    (pid,) = [int(words[3]) for words in run.told_by_agents("START") if words[0] == agent]
    return pid

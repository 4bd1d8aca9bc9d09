"""One run of a storm: a busy coordinator and commands beside it, killed step by step as the seed says, then judged."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.faults import targets
from tests.faults.driven import CoordinatorGone, Driven
from tests.faults.run import Run
from tests.faults.storm_pace import Pace
from tests.faults.storm_plan import Order, Step, behaviour, steps
from tests.faults.targets import Target
from tests.support.preloaded import Child, preloaded

MANY = 12  # agents at a time
ENSURED = ("ends with 7", "runs", "is restarted")  # what `ensure` is asked for, by the number in its name
COMMAND_SECONDS = 60.0
STARTED = "SELECT data FROM events WHERE type = 'STARTED'"
REFUSALS = ("InvalidRequest", "NameInUse", "StartFailed", "TimedOut", "UnknownAgent")
CRASHED, DAMAGED = 125, 6  # exit codes of `outlive` that nothing here may lead to


class Command(NamedTuple):
    """An `outlive` command under way."""

    ask: str
    process: Child


class Storm:
    """One run: `rage` until `kills` blows have hit, then `judge`. `counts` says what came of it."""

    def __init__(self, run: Run, kills: int) -> None:
        self._run = run
        self._kills = kills
        self._coordinator: Driven | None = None
        self._commands: list[Command] = []
        self._names = 0
        self._pace = Pace(run)
        self._wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    def rage(self) -> None:
        """Step by step, as the seed says."""
        (self._run.path / "kills").write_text(f"{self._kills}\n")
        for step in steps(self._run.seed):
            if self.counts["kills"] >= self._kills:
                break
            self._take(step)
        if self._coordinator is not None:
            self._coordinator.close()

    def judge(self) -> None:
        """Raises AssertionError with everything that is wrong."""
        report = self._run.judge()
        self._wrong += self._own_findings()
        assert not self._wrong, "\n".join([*self._wrong, f"seed {self._run.seed}"])
        self.counts.update({name: report.counts[name] for name in ("agents", "attempts", "starts", "events")})
        self.counts.update(self._exits())

    def clean_up(self) -> None:
        """End what may rightly be left: descendants that nobody can know any more."""
        for command in self._commands:
            command.process.kill()
        targets.strike(self._run, targets.agents(self._run))

    # --- a step ---------------------------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        if step.opens and self._coordinator is None:
            self._end_commands()
            self._coordinator = self._open()
            begun = time.monotonic()
            self._coordinator.answer(0)
            self._pace.opened(time.monotonic() - begun)
        self._pace.begin()
        for order in step.orders:
            self._give(order)
        for order in step.commands:
            self._start(order)
        if step.waits:
            self._pace.await_work(self._is_hopeless)
        self._pace.pause(step.pause)
        self._blow(step)
        if step.keeps_snapshot and self._run.has_log():
            self._run.snapshot()
        self._end_commands(by_force=step.order_of_death % 2 == 0)

    def _open(self) -> Driven:
        variables = self._run.variables(targets.variables(self._run))
        return Driven(self._run, [str(self._run.home)], variables, ())

    def _give(self, order: Order) -> None:
        if self._coordinator is None:
            return
        living = self._living()
        ask = order.ask
        if ask == "spawn" and len(living) >= MANY:
            ask = "kill"
        if ask == "spawn":
            content: dict[str, Any] = {
                "items": [self._item(*kind) for kind in order.kinds],
                "wait": order.waits,
            }
        elif ask == "ensure":
            number = int(order.pick * len(ENSURED))
            content = {"items": [{"name": f"ensured-{number}", "spec": self._spec(ENSURED[number], 0.5)}]}
        elif ask == "recover":
            content = {}
        else:
            content = {"agents": order.choose(living), "wait": order.waits, "signal": 18, "timeout": 0.2}
            if not content["agents"]:
                return
        with contextlib.suppress(CoordinatorGone):  # found out, and told, at the next look
            self._coordinator.send(ask, **content)
            self._pace.ordered(ask)

    def _start(self, order: Order) -> None:
        """An `outlive` command, which acts for itself where there is no coordinator."""
        living = self._living()
        chosen = order.choose(living)
        if order.ask == "run" and len(living) < MANY:
            arguments = ["run", *self._run_options(*order.kinds[0], waits=order.waits)]
        elif order.ask in ("recover", "ps", "verify", "run") or not chosen:
            arguments = ["recover" if order.ask == "run" else order.ask] if not chosen else ["ps", "--all"]
            if order.ask in ("recover", "verify"):
                arguments = [order.ask]
        elif order.ask in ("restart", "signal"):
            arguments = [order.ask, *chosen[:1], *(["-s", "CONT"] if order.ask == "signal" else [])]
        else:
            arguments = [order.ask, *chosen, *(["--timeout", "200ms"] if order.ask == "wait" else [])]
        self._run.asked_by_command(*arguments)
        with (self._run.path / "commands.log").open("ab") as log:
            process = preloaded.start(
                "manager.cli.main",
                ["--home", str(self._run.home), *arguments],
                env=self._run.variables({**targets.variables(self._run), **self._run.environment()}),
                stderr=log.fileno(),
            )
        self._commands.append(Command(arguments[0], process))
        self._pace.ordered(arguments[0])

    # --- agents -----------------------------------------------------------------------------------------------------

    def _living(self) -> list[str]:
        """The ids of the agents that have not ended, the oldest first."""
        if not self._run.has_log():
            return []
        found = self._run.rows("SELECT agent_id FROM agents WHERE is_final = 0 ORDER BY agent_id")
        return [row[0] for row in found]

    def _item(self, kind: str, share: float) -> dict[str, Any]:
        self._names += 1
        return {"name": f"storm-{self._names}", "spec": self._spec(kind, share)}

    def _spec(self, kind: str, share: float) -> dict[str, Any]:
        arguments, more = behaviour(kind, share)
        if arguments[0].startswith("/"):
            return {**self._run.agent(), "command": list(arguments)}
        return self._run.agent(*arguments, **more)

    def _run_options(self, kind: str, share: float, *, waits: bool) -> list[str]:
        item = self._item(kind, share)
        spec = item["spec"]
        options = ["--name", item["name"], "--cwd", "/", "--stop-grace", "300ms,300ms,20s"]
        options += ["--until", spec["until"]] if "until" in spec else []
        options += ["--restart", "on-failure:2"] if "restart" in spec else []
        options += ["--cgroup"] if spec.get("cgroup") else []
        options += [] if waits else ["--no-wait"]
        return [*options, "--", *spec["command"]]

    # --- kills ------------------------------------------------------------------------------------------------------

    def _blow(self, step: Step) -> None:
        chance = random.Random(step.order_of_death)
        if step.blow == "recovery":
            self._strike(self._coordinators())
            self._end_commands()
            self._coordinator = self._open()
            self._pace.pause(step.recovery_pause)
            self.counts["coordinator while it opened its home"] += 1
            self._strike(self._coordinators())
            return
        found = self._coordinators() + self._running_commands()
        if step.blow not in ("coordinator", "command"):
            found += targets.helpers(self._run) + targets.agents(self._run)
        chosen = _chosen(step, found, chance)
        targets.close([target for target in found if target not in chosen])
        self._strike(chosen, together=step.blow == "all of ours at once" and targets.has_cgroups())

    def _strike(self, chosen: Sequence[Target], *, together: bool = False) -> None:
        hit = targets.strike(self._run, chosen, together=together)
        self.counts["kills"] += bool(hit)
        self.counts.update(f"killed: {target.role}" for target in hit)
        if len(hit) > 1:
            self.counts["several at once"] += 1
        if self._coordinator is not None and self._coordinator.pid in {target.pid for target in hit}:
            self._coordinator.mourn()
            self._coordinator = None

    def _is_hopeless(self) -> bool:
        return self._coordinator is None and not any(c.process.poll() is None for c in self._commands)

    def _coordinators(self) -> list[Target]:
        if self._coordinator is None:
            return []
        target = targets.process("coordinator", self._coordinator.pid)
        code = self._coordinator.process.poll()
        if code is not None or target is None:
            self._wrong.append(f"a coordinator that nobody had killed ended with {code}")
            self._coordinator.mourn()
            self._coordinator = None
            return []
        return [target]

    def _running_commands(self) -> list[Target]:
        found = [
            targets.process("command", c.process.pid) for c in self._commands if c.process.poll() is None
        ]
        return [target for target in found if target is not None]

    def _end_commands(self, *, by_force: bool = False) -> None:
        if by_force:
            self._strike(self._running_commands())
        for ask, process in self._commands:
            try:
                code = process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                self._wrong.append(f"`outlive {ask}` did not end within {COMMAND_SECONDS} s")
                self._strike([target for target in (targets.process("command", process.pid),) if target])
                code = process.wait()
            process.stdin.close()
            process.stdout.close()
            if code == DAMAGED or (code == CRASHED and ask != "wait"):
                self._wrong.append(f"`outlive {ask}` ended with {code}")
            self.counts["commands"] += 1
        self._commands.clear()

    # --- what came of it ----------------------------------------------------------------------------------------------

    def _own_findings(self) -> list[str]:
        """What is wrong beside the promises: crashes that were not ours, strange refusals, names used twice."""
        found = []
        for name in ("coordinators.log", "commands.log"):
            path = self._run.path / name
            text = path.read_text() if path.exists() else ""
            if "Traceback" in text or "exception" in text:
                found.append(f"{path}: {text[:2000]}")
        for line in (self._run.path / "clients.jsonl").read_text().splitlines():
            answer = json.loads(line)
            if answer["answer"] == "error" and not str(answer.get("error")).startswith(REFUSALS):
                found.append(f"{answer['ask']} was refused: {answer.get('error')}")
        for name, count in self._run.rows("SELECT name, count(*) FROM agents GROUP BY name"):
            if name.startswith("ensured-") and count > 1:
                found.append(f"`ensure` started {count} agents with the name {name}")
        return found

    def _exits(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for kind, data in self._run.rows(
            "SELECT type, data FROM events WHERE type IN ('ZOMBIE_REAPED', 'LOST')"
        ):
            event = json.loads(data)
            if kind == "LOST":
                counts["attempts LOST"] += 1
            elif event["exit"]["kind"] == "unknown":
                counts["exits unknown"] += 1
            else:
                by = "by its shim" if event["source"] == "shim record" else "by the kernel, its shim lost"
                counts[f"exits known, {by}"] += 1
        processes = [json.loads(data)["process"] for (data,) in self._run.rows(STARTED)]
        numbers = [one[which] for one in processes for which in ("pid", "shim_pid")]
        counts["numbers of agents and shims used again"] = len(numbers) - len(set(numbers))
        return counts


def _chosen(step: Step, found: Sequence[Target], chance: random.Random) -> list[Target]:
    """Whom the blow of a step is for; the coordinator, else anybody of ours, where there is nobody of that kind."""
    if step.blow.startswith("all of ours"):
        ours = [target for target in found if target.role in targets.OURS]
        chance.shuffle(ours)
        return ours
    chosen = []
    for role in step.blow.split(" and "):
        of_role = [target for target in found if target.role == role]
        if of_role:
            chosen.append(of_role[int(step.pick * len(of_role))])
    if not chosen:
        ours = [target for target in found if target.role in targets.OURS]
        chosen = ours[:1]
    chance.shuffle(chosen)
    return chosen

"""Histories whose end is known, to hold predictions against: lives of agents as events, with samples, from a seed.

The answer to each question is simulated on, not judged by taste: memory that does reach its limit within the hour,
restarts that do all fail. Half of the kinds look alike and must not alarm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from eventstore import events as ev
from eventstore.appending import Batch
from eventstore.record import NewEvent
from eventstore.samples import Sample
from eventstore.values import ExitedWithCode, ProcessRecord, RecordedSpec, ResourceUse, RestartRule

SECOND = 1_000_000
START = 1_750_000_000 * SECOND
GIB = 1 << 30
BOOT = "0f5b2a3c-1111-4222-8333-444455556666"
SPEC = RecordedSpec(
    command=("work",), cwd=None, env_names=(), inherit_env=True, user=None, umask=None, until="main",
    start_window_seconds=0.1, stop_grace_seconds=(10.0, 5.0, 5.0), success_codes=(0,),
    restart=RestartRule(mode="on-failure"), labels={},
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does the detector `kind` speak of `name` at a time? `truth`: whether it should. `scenario`: how it was made."""

    kind: str
    scenario: str
    name: str
    at: int
    truth: bool
    limit_bytes: int | None = None


@dataclass(slots=True)
class History:
    """What is written to the log and to the table of samples, and what is asked about it."""

    batches: list[tuple[int, Batch]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


class Life:
    """One agent, whose attempts follow each other."""

    def __init__(self, history: History, chance: random.Random, name: str) -> None:
        self._history = history
        self._chance = chance
        self.agent_id = f"{chance.getrandbits(64):016x}"
        self.name = name
        self._version = 0
        self._attempt = 0

    def start(self, at: int) -> None:
        """The next attempt starts."""
        self._attempt += 1
        number = self._attempt
        self._record(at, ev.AgentSpawning(
            attempt=number, name=self.name, spec=SPEC, spec_digest="ab" * 32,
            directory=f"agents/{self.agent_id}/{number}", boot_id=BOOT,
        ))  # fmt: skip
        process = ProcessRecord(
            pid=1000 + number, start_ticks=number, boot_id=BOOT, pid_namespace=1, pidfd_inode=None,
            shim_pid=999, shim_start_ticks=1, shim_pidfd_inode=None, cgroup=None,
        )  # fmt: skip
        self._record(at + 20_000, ev.AgentStarted(attempt=number, process=process))
        self._record(at + 120_000, ev.AgentRunning(attempt=number, evidence="alive 0.1 s after its start"))

    def end(self, at: int, code: int = 0, *, memory: int = 50 << 20, again: int | None = None) -> None:
        """It ends with a code; `again`: the policy starts it once more, for the `again`-th time in a row."""
        number = self._attempt
        use = ResourceUse(user_seconds=1.0, system_seconds=0.2, max_memory_bytes=memory)
        self._record(at, ev.ZombieReaped(
            attempt=number, exit=ExitedWithCode(code=code), ended_at=at, reaped_by="shim", source="shim record",
            is_recovered=False, is_tree_complete=True, leftovers=(), oom_killed=False, resources=use,
        ))  # fmt: skip
        if code == 0:
            self._record(at, ev.AgentCompleted(attempt=number))
        else:
            self._record(at, ev.AgentFailed(
                attempt=number, cause="exit", message=f"ended with exit code {code}", phase=None, errno=None,
                last_output=None,
            ))  # fmt: skip
        if again is not None:
            delay = min(60.0, 2.0 ** (again - 1))
            self._record(at, ev.RestartScheduled(
                attempt=number, next_attempt=number + 1, delay_seconds=delay,
                due_at=at + round(delay * SECOND), used=again, reason="policy after FAILED",
            ))  # fmt: skip

    def sample(self, at: int, cpu: float, memory: float) -> None:
        """A look at the attempt that runs."""
        self._history.samples.append(Sample(self.agent_id, self._attempt, at, cpu, round(memory), 1, 1))

    def _record(self, at: int, event: ev.AgentEvent) -> None:
        event_id = f"{self._chance.getrandbits(32):08x}-0000-4000-8000-{self._chance.getrandbits(48):012x}"
        new = NewEvent(
            event=event, event_id=event_id, occurred_at=at, actor="coordinator", correlation_id="labelled",
            causation_id=None,
        )  # fmt: skip
        batch = Batch(stream=f"agent/{self.agent_id}", events=(new,), expected_version=self._version)
        self._history.batches.append((at, batch))
        self._version += 1


# --- memory: reached within the hour? -------------------------------------------------------------------------------

_Shape = Callable[[float], float]  # minutes → share of the limit


def _shapes(chance: random.Random) -> Iterator[tuple[str, _Shape]]:
    """How memory goes, before noise. Minute 0 is the start, the question comes at minute 40 to 70."""
    base, rate = chance.uniform(0.1, 0.4), chance.uniform(0.006, 0.012)
    yield "leak", lambda minute: base + rate * minute
    yield "leak after an hour's rest", lambda minute: base + 2 * rate * max(0.0, minute - 20)
    yield "leak in steps", lambda minute: base + rate * 5 * (minute // 5)
    yield "leak under a collector", lambda minute: base + rate * minute + 0.05 * (minute % 4) / 4
    yield "slow leak", lambda minute: base + rate / 40 * minute
    yield "flat", lambda _: base
    yield "warming up", lambda minute: base + 0.5 * (1 - math.exp(-minute / 25))
    yield "caches filling", lambda minute: base + 0.4 * min(1.0, math.sqrt(minute / 90))
    yield "collector", lambda minute: base + 0.3 * (minute % 7) / 7
    period, phase = chance.uniform(90, 240), chance.uniform(0, 6.28)
    yield "tides", lambda minute: base + 0.2 + 0.2 * math.sin(phase + 6.2832 * minute / period)
    moment = chance.uniform(10, 40)
    yield "one jump", lambda minute: base + (0.3 if minute > moment else 0.0)


def memory(history: History, chance: random.Random, number: int) -> None:
    """An agent for each shape of memory use, asked about while it runs."""
    for scenario, shape in _shapes(chance):
        life = Life(history, chance, f"memory {scenario} {number}")
        asked = chance.uniform(40, 70)
        noise, drift = chance.uniform(0.002, 0.02), 0.0
        life.start(START)
        reached = False
        for step in range(6, int((asked + 60) * 6)):
            minute = step / 6
            drift += chance.gauss(0, 0.0005)
            share = max(0.01, shape(minute) * (1 + chance.gauss(0, noise)) + drift)
            if minute <= asked:
                life.sample(START + round(minute * 60 * SECOND), 5.0, share * GIB)
            reached = reached or (minute > asked and share >= 1)
        at = START + round(asked * 60 * SECOND)
        asked_for = Question(kind="memory limit", scenario=scenario, name=life.name, at=at, truth=reached)
        history.questions.append(replace(asked_for, limit_bytes=GIB))


# --- spiral: do the next three attempts fail, too? -------------------------------------------------------------------


def spiral(history: History, chance: random.Random, number: int) -> None:
    """An agent for each way of failing again and again, asked about after three to six failures in a row."""
    until = START + round(chance.uniform(60, 3600) * SECOND)
    ways: dict[str, tuple[Callable[[int, int], bool], Callable[[int], float]]] = {
        "broken for good": (lambda _k, _at: True, lambda _k: chance.uniform(0.05, 2)),
        "dies sooner and sooner": (lambda _k, _at: True, lambda k: 60 * 0.5**k * chance.uniform(0.7, 1.3)),
        "outage": (lambda _k, at: at < until, lambda _k: chance.uniform(0.2, 3)),
        "even chances": (lambda _k, _at: chance.random() < 0.5, lambda _k: chance.uniform(0.2, 5)),
        "mostly well": (lambda _k, _at: chance.random() < 0.2, lambda _k: chance.uniform(0.2, 60)),
        "crash a day": (lambda _k, _at: True, lambda _k: chance.uniform(20_000, 90_000)),
    }
    for scenario, (fails, lives) in ways.items():
        life = Life(history, chance, f"spiral {scenario} {number}")
        at, row, last = START, 0, []
        wanted, asked = chance.randint(3, 6), None
        for attempt in range(60):
            life.start(at)
            will_fail = fails(attempt, at)
            at += round((lives(row) if will_fail else chance.uniform(600, 3600)) * SECOND) + 200_000
            row = row + 1 if will_fail else 0
            # What does well ends with 1, too, in the end: the row begins anew.
            life.end(at, 3 if will_fail else 1, again=max(row, 1))
            last.append(will_fail)
            if row >= wanted and asked is None:
                asked = (at, len(last))
            if asked is not None and len(last) >= asked[1] + 3:
                break
            at += round(min(60.0, 2.0 ** (max(row, 1) - 1)) * SECOND)
        if asked is not None:
            truth = all(last[asked[1] :]) and scenario != "crash a day"
            history.questions.append(
                Question(kind="restart spiral", scenario=scenario, name=life.name, at=asked[0], truth=truth)
            )


# --- anomalies: was one planted? ------------------------------------------------------------------------------------


def _many(
    history: History, chance: random.Random, name: str, durations: Sequence[float], memories: Sequence[float]
) -> int:
    """Agents of one name, one after the other; when the last of them had ended."""
    at = START
    for seconds, size in zip(durations, memories, strict=True):
        life = Life(history, chance, name)
        life.start(at)
        at += round(seconds * SECOND) + 200_000
        life.end(at, memory=round(size))
        at += round(chance.uniform(1, 100) * SECOND)
    return at


def durations_and_memory(history: History, chance: random.Random, number: int) -> None:
    """Names with many attempts, the last of which was planted to be unusual, or was not."""
    for kind in ("duration", "memory"):
        for scenario in ("planted", "ordinary", "heavy tail", "two modes", "growing"):
            count, sigma = chance.randint(12, 60), chance.uniform(0.05, 0.4)
            values = [chance.lognormvariate(0, sigma) for _ in range(count)]
            if scenario == "heavy tail":
                values = [chance.paretovariate(2.5) for _ in range(count)]
            elif scenario == "two modes":
                values = [value * chance.choice([1.0, 6.0]) for value in values]
            elif scenario == "growing":
                values = [value * (1 + place / count) for place, value in enumerate(values)]
            elif scenario == "planted":
                values[-1] = math.exp(sigma * chance.uniform(6, 14)) * chance.uniform(1.3, 2)
            level = chance.uniform(5, 600)
            usual = [1.0] * count
            durations, memories = (values, usual) if kind == "duration" else (usual, values)
            name = f"{kind} {scenario} {number}"
            at = _many(
                history,
                chance,
                name,
                [level * value for value in durations],
                [level * (1 << 20) * v for v in memories],
            )
            history.questions.append(
                Question(kind=kind, scenario=scenario, name=name, at=at, truth=scenario == "planted")
            )


def restarts(history: History, chance: random.Random, number: int) -> None:
    """Agents that are started again now and then for two days; in the last hour of some far more often."""
    for scenario in ("planted", "ordinary", "rare", "at night"):
        life = Life(history, chance, f"restarts {scenario} {number}")
        at, end = START, START + 48 * 3600 * SECOND
        rate = chance.uniform(0.02, 0.2) if scenario == "rare" else chance.uniform(0.3, 2)
        while True:
            is_last_hour = end - at <= 3600 * SECOND
            now_rate = rate * (chance.uniform(8, 15) if scenario == "planted" and is_last_hour else 1)
            if scenario == "at night" and (at - START) // (3600 * SECOND) % 24 < 8:
                now_rate *= 3
            life.start(at)
            # At most 10 minutes at once, so that the last hour begins in time.
            seconds = chance.expovariate(now_rate / 3600)
            if scenario == "planted" and not is_last_hour:
                seconds = min(seconds, max(1.0, (end - at) / SECOND - 3590))
            if at + seconds * SECOND >= end:
                break
            at += round(seconds * SECOND) + 200_000
            life.end(at, 1, again=1)
            at += SECOND
        history.questions.append(
            Question(kind="restarts", scenario=scenario, name=life.name, at=end, truth=scenario == "planted")
        )


def silence(history: History, chance: random.Random, number: int) -> None:
    """Agents that work and pause for three hours; some then hang, others pause as ever, were idle, or nobody looked."""
    for scenario in ("hung", "pausing", "always idle", "regular", "nobody looked"):
        life = Life(history, chance, f"silence {scenario} {number}")
        life.start(START)
        pause = chance.uniform(20, 90)
        end = START + 3 * 3600 * SECOND
        hung_at = end - round(chance.uniform(20, 60) * pause * SECOND)
        at, next_work = START + SECOND, START + SECOND
        while at < end:
            is_unseen = scenario == "nobody looked" and end - 1800 * SECOND < at < end - 20 * SECOND
            is_busy = scenario != "always idle" and not (scenario == "hung" and at >= hung_at)
            busy = is_busy and at >= next_work
            if busy:
                spell = pause if scenario == "regular" else chance.expovariate(1 / pause)
                next_work = at + round((10 + spell) * SECOND)
            if not is_unseen:
                life.sample(at, chance.uniform(5, 90) if busy else 0.0, 50 << 20)
            at += 10 * SECOND
        history.questions.append(
            Question(kind="silence", scenario=scenario, name=life.name, at=end, truth=scenario == "hung")
        )


def history(seed: int, number: int) -> History:
    """`number` of each kind."""
    made, chance = History(), random.Random(seed)
    for one in range(number):
        for make in (memory, spiral, durations_and_memory, restarts, silence):
            make(made, chance, one)
    return made

"""Four hosts with a home each on one log in PostgreSQL, and what befalls one of them is no other's business."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from tests.faults import targets
from tests.faults.driven import Driven
from tests.faults.ours import ours
from tests.faults.run import SETTLE_SECONDS, Run
from tests.support.cluster import Cluster, running_cluster
from tests.support.network import Host, hosts
from tests.support.processes import eventually
from tests.support.tally import Tally

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
ROW = "15 four hosts on one log: a coordinator, a launcher and a network lost"
HOMES = 4
SIGCONT = 18


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[str, list[Host]]]:
    """The address of the server, and the hosts."""
    with hosts(HOMES) as made:
        yield made


@pytest.fixture(scope="module")
def own(network: tuple[str, list[Host]]) -> Iterator[Cluster]:
    """A server that is heard on the bridge."""
    with running_cluster(address=network[0]) as cluster:
        yield cluster


class Scale(NamedTuple):
    """Agents of each home, for how long one is cut off at the least, and what is added to the URL."""

    agents: int
    seconds: float
    settings: str


SCALES = (
    Scale(4, 0.0, "&connect_timeout=2&tcp_user_timeout=1000"),  # to be told sooner
    pytest.param(Scale(25, 60.0, ""), marks=pytest.mark.faults),
)


@pytest.fixture(params=SCALES, ids=["a few", "all"])
def scale(request: pytest.FixtureRequest) -> Scale:
    """How much of it."""
    return cast(Scale, request.param)


@pytest.fixture
def homes(own: Cluster, network: tuple[str, list[Host]], tmp_path: Path, scale: Scale) -> Iterator[list[Run]]:
    """A run for each host, all of them on one log."""
    url = own.url_at(network[0], own.new_database()) + scale.settings
    with ExitStack() as stack:
        yield [stack.enter_context(Run.create(tmp_path, seed=seed, database=url)) for seed in range(HOMES)]


def test_each_has_its_own_trouble(
    network: tuple[str, list[Host]], homes: list[Run], scale: Scale, tally: Tally
) -> None:
    """One coordinator killed, one host cut off without a word, one launcher killed: the oracle judges each home."""
    agents = scale.agents
    killed, cut, launcherless, alone = homes
    with ThreadPoolExecutor(HOMES) as pool:  # the log is made by whoever is first
        doomed, away, lame, calm = pool.map(_opened, homes, network[1])
    _know_each_other(homes)
    named = [f"a{number}" for number in range(agents)]
    ids = [
        coordinator.spawn(*[run.agent("--beat")] * agents, names=named)
        for run, coordinator in zip(homes, (doomed, away, lame, calm), strict=True)
    ]
    until = time.monotonic() + scale.seconds
    doomed.kill()
    cut.fault("cut", "store")
    network[1][1].cut()
    [launcher] = ours(launcherless, "launcher")
    launcherless.kill("launcher", launcher)
    stopped = away.send("stop", agents=["a0"], wait=False)
    refused = away.send("spawn", items=[{"name": "refused", "spec": cut.agent()}])
    calm.ask("restart", agents=ids[3])
    lame.spawn(*[launcherless.agent("--beat")] * agents)
    assert lame.ask("stop", agents=["a1"])["answer"] == "ack"
    eventually(partial(_has_ended, cut, ids[1][0]), "who is cut off stops its agents all the same")
    away.answer(stopped)
    assert away.answer(refused)["error"].startswith("StoreUnavailable")
    while time.monotonic() < until:
        assert calm.ask("signal", agents=["a0"], signal=SIGCONT)["answer"] == "ack"
        time.sleep(0.5)
    network[1][1].mend()
    assert away.ask("wait", agents=["a0"], timeout=SETTLE_SECONDS)["answer"] == "ack"
    successor = _opened(killed, network[1][0])
    assert alone.rows("SELECT count(*) FROM events WHERE type = 'REATTACHED'") == [(agents,)]
    for coordinator in (successor, away, lame, calm):
        coordinator.close()
    for run in homes:
        run.judge()
    tally(ROW, runs=3)


def _opened(run: Run, host: Host) -> Driven:
    """A coordinator that runs on the host."""
    return run.coordinator(variables=targets.variables(run), under=host.enter)


def _know_each_other(homes: Sequence[Run]) -> None:
    """Tell the oracle which events are of homes that its run is not about."""
    ids = {run.path: json.loads((run.home / "home.json").read_text())["home"] for run in homes}
    for run in homes:
        (run.path / "others").write_text("\n".join(ids[other] for other in ids if other != run.path))


def _has_ended(run: Run, agent: str) -> bool:
    return any(words[0] == agent for words in run.told_by_agents("END"))

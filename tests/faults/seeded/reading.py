"""Lies about what people read, what clients are told, what is started again, and what is left."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks


@breaks("views are the fold")
def a_row_is_stale(seen: Evidence) -> None:
    """A projection that is written behind the log."""
    with seen.database() as database:
        database.execute(
            "UPDATE agents SET state = 'RUNNING', is_final = 0 WHERE agent_id = ?", (seen.id("done"),)
        )


@breaks("views are the fold")
def a_state_is_stale(seen: Evidence) -> None:
    """The stored state is not that of the row beside it."""
    query = "SELECT state_json FROM agents WHERE agent_id = ?"
    with seen.database() as database:
        (text,) = database.execute(query, (seen.id("done"),)).fetchone()
        state = {**json.loads(text), "version": 2}
        database.execute(
            "UPDATE agents SET state_json = ? WHERE agent_id = ?", (json.dumps(state), seen.id("done"))
        )


@breaks("views are the fold")
def an_attempt_has_no_row(seen: Evidence) -> None:
    """A projection that keeps the last attempt only."""
    with seen.database() as database:
        database.execute("DELETE FROM attempts WHERE agent_id = ? AND attempt = 1", (seen.id("retry"),))


@breaks("views are the fold")
def an_agent_has_no_row(seen: Evidence) -> None:
    """A projection that forgets what has ended."""
    with seen.database() as database:
        database.execute("DELETE FROM agents WHERE agent_id = ?", (seen.id("done"),))


def _printed(seen: Evidence, name: str, **changes: Any) -> None:
    def change(view: dict[str, Any]) -> None:
        for agent in view["agents"]["agents"]:
            if agent["name"] == name:
                agent.update(changes)

    seen.rewrite_lines("views.jsonl", change)


@breaks("views are the fold")
def a_listing_says_0_for_unknown(seen: Evidence) -> None:
    """A listing that has no word for what nobody knows."""
    _printed(seen, "lost", exit={"kind": "code", "code": 0, "signal": None, "reason": None})


@breaks("views are the fold")
def a_listing_calls_the_dead_alive(seen: Evidence) -> None:
    """A listing that believes a reused pid."""
    _printed(seen, "quick", is_alive=True)


@breaks("views are the fold")
def a_listing_leaves_one_out(seen: Evidence) -> None:
    """A listing that ends at a page."""
    seen.rewrite_lines("views.jsonl", lambda view: view["agents"]["agents"].pop())


@breaks("views are the fold")
def a_listing_is_of_another_position(seen: Evidence) -> None:
    """A head and a listing that are read one after the other."""
    seen.rewrite_lines(
        "views.jsonl", lambda view: view["agents"]["head"].update(position=view["position"] - 1)
    )


@breaks("views are the fold")
def a_status_file_makes_up_an_exit(seen: Evidence) -> None:
    """A status file from what was asked for instead of what happened."""
    path = seen.directory("quick") / "status.json"
    told = json.loads(path.read_text())
    told["exit"]["code"] = 0
    path.write_text(json.dumps(told))


@breaks("acknowledged is kept")
def a_stop_is_acknowledged_that_nobody_recorded(seen: Evidence) -> None:
    """An answer that is sent when the order is understood."""
    agent = seen.id("runner")
    seen.rewrite_lines("clients.jsonl", lambda one: one.update(agent=agent) if one["ask"] == "stop" else None)


@breaks("acknowledged is kept")
def an_answer_ahead_of_the_log(seen: Evidence) -> None:
    """An answer that is sent before the commit, and a crash between them."""
    head = len(seen.events)
    seen.rewrite_lines("clients.jsonl", lambda one: one.update(position=head + 1) if one["id"] == 3 else None)


@breaks("restart policy", "as asked for")
def a_restart_beyond_the_budget(seen: Evidence) -> None:
    """A budget that is counted anew by each coordinator."""
    given_up = seen.one("RESTART_GIVEN_UP", "retry")
    before = seen.one("RESTART_SCHEDULED", "retry", 1)
    at = given_up.columns["occurred_at"]
    body = {**before.body, "attempt": 3, "next_attempt": 4, "used": 3, "delay_seconds": 0.8}
    given_up.columns["type"], given_up.body = "RESTART_SCHEDULED", {**body, "due_at": at + 800_000}
    seen.put(given_up, "CANCELLED")
    seen.save()


@breaks("restart policy")
def a_restart_before_it_is_due(seen: Evidence) -> None:
    """A back-off that a new coordinator does not go on with."""
    due = seen.one("RESTART_SCHEDULED", "retry", 1)
    due.body["due_at"] += 400_000
    due.body["delay_seconds"] += 0.4
    for one in seen.all("SPAWNING", "retry"):
        one.body["spec"]["restart"]["backoff_seconds"] = 0.4
    first = seen.one("RESTART_SCHEDULED", "retry")
    first.body["due_at"] += 200_000
    first.body["delay_seconds"] += 0.2
    seen.save()


@breaks("restart policy")
def a_delay_that_does_not_grow(seen: Evidence) -> None:
    """A back-off that is the same each time: a restart storm."""
    second = seen.one("RESTART_SCHEDULED", "retry", 1)
    second.body["delay_seconds"] = 0.2
    second.body["due_at"] -= 200_000
    seen.save()


@breaks("restart policy")
def a_restart_that_is_due_at_another_time(seen: Evidence) -> None:
    """A due time by another clock than the delay's."""
    seen.one("RESTART_SCHEDULED", "retry").body["due_at"] -= 100_000
    seen.save()


@breaks("restart policy", "as asked for")
def a_success_is_started_again(seen: Evidence) -> None:
    """`on-failure` that is read as `always`."""
    for one in seen.all("SPAWNING", "done"):
        one.body["spec"]["restart"].update(mode="on-failure", max_restarts=2, backoff_seconds=0.2)
    completed = seen.one("COMPLETED", "done")
    due = completed.columns["occurred_at"] + 200_000
    body = {"next_attempt": 2, "used": 1, "delay_seconds": 0.2, "due_at": due, "reason": "policy"}
    scheduled = seen.put(completed, "RESTART_SCHEDULED", **body)
    seen.put(scheduled, "CANCELLED")
    seen.save()


@breaks("restart policy")
def a_restart_is_forgotten(seen: Evidence) -> None:
    """An end that is found by a recovery is not followed by what its policy says."""
    seen.drop(seen.one("RESTART_GIVEN_UP", "retry"))
    seen.save()


@breaks("restart policy")
def a_restart_that_nobody_scheduled(seen: Evidence) -> None:
    """A recovery that starts again what it finds ended."""
    seen.drop(seen.one("RESTART_SCHEDULED", "retry", 1))
    seen.save()


@breaks("nothing left behind")
def a_temporary_file(seen: Evidence) -> None:
    """A record that is written twice and renamed once."""
    (seen.directory("quick") / "exit.json.tmp").touch()


@breaks("nothing left behind")
def a_temporary_file_beside_the_log(seen: Evidence) -> None:
    """The same of the home."""
    path = seen.path / "faults.jsonl"
    lines = [line for line in path.read_text().splitlines() if '"coordinator"' not in line]
    path.write_text("\n".join(lines))
    (seen.home / "home.json.tmp").touch()


@breaks("nothing left behind")
def a_cgroup(seen: Evidence) -> None:
    """A cgroup that is removed before it is empty, and so is not."""
    group = seen.path / "cgroup"
    group.mkdir()
    seen.one("STARTED", "quick").body["process"]["cgroup"] = str(group)
    seen.rewrite_record("quick", "identity", cgroup=str(group))
    seen.save()


@breaks("secrets")
def a_secret_in_the_log(seen: Evidence) -> None:
    """A spec that is recorded with its environment."""
    seen.one("SPAWNING", "quick").body["spec"]["env_names"].append("PLANTED=" + seen.secret())
    seen.save()


@breaks("secrets")
def a_secret_in_a_status_file(seen: Evidence) -> None:
    """A status file with all that is known."""
    path = seen.directory("quick") / "status.json"
    told = {**json.loads(path.read_text()), "env": {"PLANTED": seen.secret()}}
    path.write_text(json.dumps(told))


@breaks("secrets")
def a_secret_in_a_listing(seen: Evidence) -> None:
    """A command line as /proc shows it, with what was put on it."""
    _printed(seen, "runner", note="PLANTED=" + seen.secret())

"""Lies in the log's order, its chain, its epochs and its transitions."""

from __future__ import annotations

import json

from tests.faults.seeded.evidence import Evidence
from tests.faults.seeded.lies import breaks


@breaks("dense positions")
def a_position_is_left_out(seen: Evidence) -> None:
    """A sequence that loses a number with each transaction that is rolled back."""
    seen.save()
    for event in seen.events[40:]:
        event.columns["position"] += 1
    seen.save(numbers=False)


@breaks("dense positions")
def two_events_of_a_stream_have_one_version(seen: Evidence) -> None:
    """An append that does not check the expected version."""
    seen.save()
    for event in seen.events:
        if event.agent == seen.id("quick") and event.columns["version"] > 2:
            event.columns["version"] -= 1
    seen.save(numbers=False)


@breaks("dense positions")
def the_clock_goes_back_in_the_log(seen: Evidence) -> None:
    """A recorded time that is taken from the wall clock as it is."""
    seen.save()
    seen.events[-1].columns["recorded_at"] -= 3_600_000_000
    seen.save(numbers=False)


@breaks("unique ids")
def an_event_id_is_used_twice(seen: Evidence) -> None:
    """A retry after an unclear commit that appends once more."""
    seen.one("RUNNING", "quick").columns["event_id"] = seen.one("RUNNING", "done").columns["event_id"]
    seen.save()


@breaks("hash chain")
def a_row_is_edited(seen: Evidence) -> None:
    """A cleaner that corrects what was recorded."""
    with seen.database() as database:
        database.execute("UPDATE events SET actor = 'nobody' WHERE position = ?", (len(seen.events),))


@breaks("hash chain")
def the_chain_begins_anew(seen: Evidence) -> None:
    """A writer that forgets the head when it is restarted."""
    seen.save()
    row = seen.one("COORDINATOR_STARTED", number=1)
    with seen.database() as database:
        place = row.columns["position"]
        database.execute("UPDATE events SET previous_hash = ? WHERE position = ?", (bytes(32), place))


@breaks("stable history")
def the_past_is_written_anew(seen: Evidence) -> None:
    """A history that is rewritten with a good chain: only an earlier reading shows it."""
    seen.one("FAILED", "quick").body["message"] = "ended with exit code 7, as it should"
    seen.save(keeps=("snapshots",))


@breaks("stable history")
def two_events_changed_places(seen: Evidence) -> None:
    """An order that depends on who reads."""
    seen.exchange(seen.one("RUNNING", "keeper"), seen.one("RUNNING", "family"))
    seen.save(keeps=("snapshots",))


@breaks("stable history", "acknowledged is kept")
def the_tail_is_lost(seen: Evidence) -> None:
    """A commit that was acknowledged before it was durable, and a power loss."""
    told = max(
        json.loads(line)["position"] for line in (seen.path / "clients.jsonl").read_text().splitlines()
    )
    del seen.events[told - 1 :]
    seen.save(keeps=("snapshots", "clients"))


@breaks("stable history")
def an_older_copy_is_put_back(seen: Evidence) -> None:
    """A backup that is restored and written on, as if nothing had been recorded since."""
    seen.put(seen.events[-1], seen.events[-1].type, **seen.events[-1].body)
    del seen.events[-2]
    seen.save(keeps=("head",))


@breaks("stable history")
def only_the_head_knows_of_the_tail(seen: Evidence) -> None:
    """The last commit was not durable, and nobody was told of it yet."""
    del seen.events[-1]
    seen.save(keeps=("head",))


@breaks("epochs in order")
def an_epoch_is_used_again(seen: Evidence) -> None:
    """A coordinator that does not raise the epoch."""
    last = seen.all("COORDINATOR_STARTED")[-1]
    for event in seen.events[seen.events.index(last) :]:
        event.columns["epoch"] -= 1
        if "epoch" in event.body:
            event.body["epoch"] -= 1
    seen.save()


@breaks("epochs in order")
def an_epoch_is_skipped(seen: Evidence) -> None:
    """A coordinator that raises the epoch twice."""
    last = seen.all("COORDINATOR_STARTED")[-1]
    for event in seen.events[seen.events.index(last) :]:
        event.columns["epoch"] += 1
        if "epoch" in event.body:
            event.body["epoch"] += 1
    seen.save()


@breaks("epochs in order")
def a_deposed_coordinator_appends(seen: Evidence) -> None:
    """An append that does not check the epoch in its transaction."""
    seen.one("RUNNING", "runner").columns["epoch"] = 1
    late = seen.one("SIGNAL_SENT", "keeper")
    late.columns["epoch"] = 1
    seen.save()


@breaks("legal transitions")
def it_runs_after_its_end(seen: Evidence) -> None:
    """A late timer that is not asked whether the agent is still there."""
    seen.put(seen.one("COMPLETED", "done"), "RUNNING", evidence="alive 0.1 s after its start")
    seen.save()


@breaks("legal transitions", "meaning of the end")
def a_stage_of_a_stop_that_nobody_requested(seen: Evidence) -> None:
    """A stop that forgets to record who asked for it."""
    seen.drop(seen.one("STOP_REQUESTED", "runner"))
    seen.save()


@breaks("legal transitions", "as asked for")
def one_name_for_two(seen: Evidence) -> None:
    """A check for names in use that is made before the lock is taken."""
    seen.one("SPAWNING", "done").body["name"] = "quick"
    seen.save()

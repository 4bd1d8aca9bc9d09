"""The JSON form of a post-mortem: `outlive.why/1`, documented in docs/post-mortem.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.record import Head, rfc3339
from manager.why import words
from manager.why.model import PostMortem
from manager.why.parts import Alike, Followed, Proof, Trend, Verdict

SCHEMA = "outlive.why/1"


def as_json(found: PostMortem) -> dict[str, Any]:
    """Times as RFC 3339 in UTC, hashes in hex; events as `outlive events --json` prints them."""
    return {
        "schema": SCHEMA,
        **({} if found.as_of is None else {"as_of": rfc3339(found.as_of)}),
        "summary": words.summary(found),
        "id": found.agent_id,
        "name": found.name,
        "attempt": found.attempt,
        "attempts": found.attempts,
        "state": found.state,
        "command": list(found.command),
        "labels": dict(found.labels),
        "requested_at": rfc3339(found.requested_at),
        "started_at": _time(found.started_at),
        "ended_at": _time(found.ended_at),
        "runtime_seconds": found.runtime_seconds,
        "verdict": _verdict(found.verdict),
        "asked": [
            {
                "what": one.what,
                "position": one.position,
                "at": rfc3339(one.at),
                "actor": one.actor,
                "reason": one.reason,
                "cause": one.cause,
                "signal": one.signal,
                "correlation_id": one.correlation_id,
            }
            for one in found.asked
        ],
        "events": [entry.row.as_json() for entry in found.events],
        "omitted_events": found.omitted_events,
        "home_events": [entry.row.as_json() for entry in found.home_events],
        "samples": [{**one._asdict(), "sampled_at": rfc3339(one.sampled_at)} for one in found.samples],
        "trend": _trend(found.trend),
        "resources": found.resources,
        "last_output": list(found.last_output),
        "last_output_stream": found.last_output_stream,
        "error_line": found.error_line,
        "left_over": None
        if found.left_over is None
        else {
            "pids": None if found.left_over.pids is None else list(found.left_over.pids),
            "is_tree_complete": found.left_over.is_tree_complete,
            "position": found.left_over.position,
        },
        "followed": _followed(found.followed),
        "alike": _alike(found.alike),
        "last_failure": None
        if found.last_failure is None
        else {
            "attempt": found.last_failure.attempt,
            "cause": found.last_failure.cause,
            "certainty": found.last_failure.certainty,
            "exit": _exit(found.last_failure.exit),
            "message": found.last_failure.message,
            "ended_at": rfc3339(found.last_failure.ended_at),
            "error_line": found.last_failure.error_line,
        },
        "proof": _proof(found.proof),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "cause": verdict.cause,
        "certainty": verdict.certainty,
        "exit": _exit(verdict.exit),
        "message": verdict.message,
        "phase": verdict.phase,
        "errno": verdict.errno,
        "signal_position": verdict.signal_position,
        "evidence": [
            {"source": one.source, "text": one.text, "positions": list(one.positions)}
            for one in verdict.evidence
        ],
    }


def _exit(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    return {
        name: _time(value) if name in ("not_before_at", "not_after_at") else value
        for name, value in found.items()
    }


def _trend(trend: Trend | None) -> dict[str, Any] | None:
    if trend is None:
        return None
    return {
        "count": trend.count,
        "first_at": rfc3339(trend.first_at),
        "last_at": rfc3339(trend.last_at),
        "memory_first_bytes": trend.memory_first_bytes,
        "memory_last_bytes": trend.memory_last_bytes,
        "memory_most_bytes": trend.memory_most_bytes,
        "memory_bytes_per_second": trend.memory_bytes_per_second,
        "cpu_mean_percent": trend.cpu_mean_percent,
        "cpu_last_percent": trend.cpu_last_percent,
    }


def _followed(followed: Followed) -> dict[str, Any]:
    following = followed.next_attempt
    return {
        "what": followed.what,
        "events": [entry.row.as_json() for entry in followed.entries],
        "next_attempt": None
        if following is None
        else {
            "attempt": following.attempt,
            "state": following.state,
            "cause": following.cause,
            "exit": _exit(following.exit),
            "ended_at": _time(following.ended_at),
        },
    }


def _alike(alike: Alike | None) -> dict[str, Any] | None:
    if alike is None:
        return None
    return {
        "fingerprint": alike.fingerprint,
        "line": alike.line,
        "count": alike.count,
        "other_agents": alike.agents,
        "first_at": _time(alike.first_at),
        "last_at": _time(alike.last_at),
        "is_all": alike.is_all,
        "newest": [
            {
                "id": one.agent_id,
                "name": one.name,
                "attempt": one.attempt,
                "position": one.position,
                "at": rfc3339(one.at),
            }
            for one in alike.newest
        ],
    }


def _proof(proof: Proof) -> dict[str, Any]:
    checkpoint = proof.checkpoint
    return {
        "first": _head(proof.first),
        "last": _head(proof.last),
        "head": _head(proof.head),
        "outside": None if proof.outside is None else _head(proof.outside),
        "checkpoint": None
        if checkpoint is None
        else {
            "position": checkpoint.position,
            "hash": checkpoint.hash.hex(),
            "recorded_at": rfc3339(checkpoint.recorded_at),
            "key_id": checkpoint.key_id,
            "is_held": checkpoint.is_held,
        },
        "wrong": proof.wrong,
    }


def _head(head: Head) -> Mapping[str, Any]:
    return {"position": head.position, "hash": head.hash.hex(), "recorded_at": rfc3339(head.recorded_at)}


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)

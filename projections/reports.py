"""The reports: each one a query on a view `report_…`, grouped by a column of a closed map, values always bound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from eventstore.errors import InvalidRequest

Kind = Literal["text", "count", "seconds", "bytes", "ratio", "percent", "instant"]

DAY, HOUR = 86_400_000_000, 3_600_000_000
LATEST = 2**62  # no instant comes after it


class Column(NamedTuple):
    """A figure of a report: its name, what it is, and how it is reckoned from the rows of a group."""

    name: str
    kind: Kind
    sql: str


class Definition(NamedTuple):
    """A report: rows of `source` that fulfil `where` and whose `at` is in the period; `chart` is the figure drawn.

    `by`: what it can be grouped by; the first is what it is grouped by where nobody says.
    """

    name: str
    title: str
    source: str
    at: str
    by: tuple[str, ...]
    columns: tuple[Column, ...]
    chart: str
    where: str = "1 = 1"


class Query(NamedTuple):
    """A statement with its parameters marked `?`."""

    sql: str
    parameters: tuple[object, ...]


# `{at}` is the report's own instant. Only these texts ever become SQL.
_GROUPS: Mapping[str, str] = {
    "name": "name",
    "agent": "agent_id",
    "host": "host",
    "home": "home",
    "cause": "cause",
    "outcome": "outcome",
    "fingerprint": "fingerprint",
    "actor": "actor",
    "version": "version",
    "epoch": "epoch",
    "day": f"{{at}} - {{at}} % {DAY}",
    "hour": f"{{at}} - {{at}} % {HOUR}",
    "label": "(SELECT value FROM json_each(labels) WHERE key = :key)",
}
PERIODS: Mapping[str, int] = {"day": DAY, "hour": HOUR}
_OF_AN_ATTEMPT = ("name", "agent", "host", "home", "label", "day", "hour")
_PARAMETER = re.compile(r":(since|until|now|key)\b")


def _count(name: str, condition: str) -> Column:
    return Column(name, "count", f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)")


def _percentile(percent: int) -> Column:
    # Nearest rank: the least duration that at least so many of a hundred do not exceed.
    return Column(
        f"p{percent}_seconds",
        "seconds",
        f"min(CASE WHEN place * 100 >= size * {percent} THEN duration_seconds END)",
    )


_OUTCOMES = tuple(
    _count(outcome.lower(), f"outcome = '{outcome}'")
    for outcome in ("COMPLETED", "FAILED", "LOST", "CANCELLED", "KILLED")
)
_FAILED_AT = "CASE WHEN outcome IN ('FAILED', 'LOST') THEN over_at END"
_JUDGED = "sum(CASE WHEN outcome IN ('COMPLETED', 'FAILED') THEN 1 ELSE 0 END)"
_UP = """CASE WHEN duration_seconds IS NOT NULL THEN duration_seconds
    WHEN outcome IS NULL AND ended_at IS NULL AND started_at <= :now THEN (:now - started_at) / 1000000.0 END"""


def _share(outcome: str) -> str:
    return f"sum(CASE WHEN outcome = '{outcome}' THEN 1.0 ELSE 0.0 END) / nullif({_JUDGED}, 0)"


FAILURES = Definition(
    name="failures",
    title="Failures",
    source="report_attempts",
    where="outcome IS NOT NULL",
    at="over_at",
    by=("name", "fingerprint", "cause", "outcome", "agent", "host", "home", "label", "day", "hour"),
    columns=(
        Column("ended", "count", "count(*)"),
        *_OUTCOMES,
        Column("success_rate", "ratio", _share("COMPLETED")),
        Column("failure_rate", "ratio", _share("FAILED")),
        Column("first_failed_at", "instant", f"min({_FAILED_AT})"),
        Column("last_failed_at", "instant", f"max({_FAILED_AT})"),
    ),
    chart="failed",
)
# `failures --by fingerprint`: which failures are alike, and since when.
FINGERPRINTS = FAILURES._replace(
    title="Failures that are alike",
    where="fingerprint IS NOT NULL",
    columns=(
        Column("failures", "count", "count(*)"),
        Column("agents", "count", "count(DISTINCT agent_id)"),
        Column("first_failed_at", "instant", "min(over_at)"),
        Column("last_failed_at", "instant", "max(over_at)"),
        Column("cause", "text", "min(cause)"),
        Column("exit", "text", "min(exit_kind || coalesce(' ' || coalesce(exit_code, exit_signal), ''))"),
        Column("error_line", "text", "min(error_line)"),
    ),
    chart="failures",
)
DURATIONS = Definition(
    name="durations",
    title="Durations of attempts",
    source="report_durations",
    at="ended_at",
    by=(*_OF_AN_ATTEMPT, "outcome", "cause", "fingerprint"),
    columns=(
        Column("attempts", "count", "count(*)"),
        Column("least_seconds", "seconds", "min(duration_seconds)"),
        Column("mean_seconds", "seconds", "avg(duration_seconds)"),
        *(_percentile(percent) for percent in (50, 95, 99)),
        Column("most_seconds", "seconds", "max(duration_seconds)"),
    ),
    chart="p95_seconds",
)
RESTARTS = Definition(
    name="restarts",
    title="Restarts",
    source="report_attempts",
    at="requested_at",
    by=_OF_AN_ATTEMPT,
    columns=(
        Column("agents", "count", "count(DISTINCT agent_id)"),
        Column("attempts", "count", "count(*)"),
        _count("restarts", "attempt > 1"),
        _count("given_up", "has_given_up = 1"),
        _count("failed", "outcome = 'FAILED'"),
        Column("mean_delay_seconds", "seconds", "avg(restart_delay_seconds)"),
        Column("up_seconds", "seconds", f"sum({_UP})"),
        Column(
            "mtbf_seconds",
            "seconds",
            f"sum({_UP}) / nullif(sum(CASE WHEN outcome = 'FAILED' THEN 1 ELSE 0 END), 0)",
        ),
    ),
    chart="restarts",
)
UPTIME = Definition(
    name="uptime",
    title="Time that agents ran",
    source="""(
        SELECT agent_id, min(name) AS name, min(home) AS home, min(host) AS host, min(labels) AS labels,
            count(*) AS attempts, sum(CASE WHEN gone IS NULL THEN 1 ELSE 0 END) AS unknown,
            sum(CASE WHEN gone > begun THEN gone - begun ELSE 0 END) / 1000000.0 AS up,
            (max(gone) - min(begun)) / 1000000.0 AS span,
            max(CASE WHEN gone > begun THEN gone - begun END) / 1000000.0 AS longest, max(begun) AS begun
        FROM (
            SELECT agent_id, name, home, host, labels,
                CASE WHEN started_at < :since THEN :since ELSE started_at END AS begun,
                CASE WHEN is_up = 1 AND :now < :until THEN :now
                    WHEN is_up = 1 OR ended_at > :until THEN :until ELSE ended_at END AS gone
            FROM report_uptime WHERE started_at <= :until AND (ended_at IS NULL OR ended_at >= :since)
        ) clipped GROUP BY agent_id
    ) lived""",
    at="begun",
    by=("name", "agent", "host", "home", "label"),
    columns=(
        Column("agents", "count", "count(*)"),
        Column("attempts", "count", "sum(attempts)"),
        Column("up_seconds", "seconds", "sum(up)"),
        Column("up_share", "ratio", "sum(up) / nullif(sum(CASE WHEN span > 0 THEN span ELSE 0 END), 0)"),
        Column("longest_seconds", "seconds", "max(longest)"),
        Column("unknown_ends", "count", "sum(unknown)"),
    ),
    chart="up_seconds",
)
RESOURCES = Definition(
    name="resources",
    title="Use of resources",
    source="report_resources",
    at="started_at",
    by=(*_OF_AN_ATTEMPT, "outcome"),
    columns=(
        Column("attempts", "count", "count(*)"),
        Column("samples", "count", "sum(samples)"),
        Column(
            "mean_cpu_percent",
            "percent",
            "sum(mean_cpu_percent * cpu_samples) / nullif(sum(cpu_samples), 0)",
        ),
        Column("most_cpu_percent", "percent", "max(most_cpu_percent)"),
        Column(
            "mean_memory_bytes",
            "bytes",
            "sum(mean_memory_bytes * memory_samples) / nullif(sum(memory_samples), 0)",
        ),
        Column("most_memory_bytes", "bytes", "max(most_memory_bytes)"),
        Column("max_memory_bytes", "bytes", "max(max_memory_bytes)"),
        Column("most_processes", "count", "max(most_processes)"),
        Column("user_seconds", "seconds", "sum(user_seconds)"),
        Column("system_seconds", "seconds", "sum(system_seconds)"),
    ),
    chart="max_memory_bytes",
)
RECOVERIES = Definition(
    name="recoveries",
    title="Coordinators, and what they recovered",
    source="report_recoveries",
    at="started_at",
    by=("day", "hour", "host", "home", "actor", "version", "epoch"),
    columns=(
        Column("coordinators", "count", "count(*)"),
        _count("stopped", "left_as = 'stopped'"),
        _count("vanished", "left_as = 'vanished'"),
        Column("down_seconds", "seconds", "sum(down_seconds)"),
        Column("longest_down_seconds", "seconds", "max(down_seconds)"),
        *(
            Column(name, "count", f"sum({name})")
            for name in ("recoveries", "reattached", "ended", "lost", "never_started", "resumed_stops")
        ),
        Column("recovery_seconds", "seconds", "sum(recovery_seconds)"),
    ),
    chart="coordinators",
)
REPORTS: Mapping[str, Definition] = {
    one.name: one for one in (FAILURES, DURATIONS, RESTARTS, UPTIME, RESOURCES, RECOVERIES)
}


def definition_of(name: str, by: str | None) -> tuple[Definition, str]:
    """The report of this name and its grouping: one of its list, or `label:KEY`. Raises `InvalidRequest`."""
    found = REPORTS.get(name)
    if found is None:
        raise InvalidRequest(f"cannot report {name!r}: the reports are {', '.join(REPORTS)}")
    by = found.by[0] if by is None else by
    group, colon, key = by.partition(":")
    if group not in found.by or (group == "label") != bool(colon and key):
        choices = ", ".join("label:KEY" if one == "label" else one for one in found.by)
        raise InvalidRequest(f"cannot report {name} by {by!r}: it can be grouped by {choices}")
    return FINGERPRINTS if (name, by) == ("failures", "fingerprint") else found, by


def query(report: Definition, by: str | None, *, since: int, until: int, now: int) -> Query:
    """The rows of the report, one a group: the group, then the figures. `by` None: everything as one group."""
    group, _, key = (by or "").partition(":")
    grouped = _GROUPS[group].format(at=report.at) if by else "'all'"
    # A text is one of its group's; of everything together there is none to tell.
    figures = ", ".join(
        f"{column.sql if by or column.kind != 'text' else 'NULL'} AS {column.name}"
        for column in report.columns
    )
    ranks = (
        ", row_number() OVER (PARTITION BY grouped ORDER BY duration_seconds) AS place,"
        " count(*) OVER (PARTITION BY grouped) AS size"
        if report.name == "durations"
        else ""
    )
    order = (
        "grouped NULLS FIRST" if group in PERIODS else f"{report.chart} DESC NULLS LAST, grouped NULLS FIRST"
    )
    sql = (
        f"SELECT grouped, {figures} FROM (SELECT chosen.*{ranks} FROM"  # noqa: S608 (only texts of this module)
        f" (SELECT *, {grouped} AS grouped FROM {report.source}"
        f" WHERE {report.where} AND {report.at} >= :since AND {report.at} <= :until) chosen) ranked"
        f" GROUP BY grouped ORDER BY {order}"
    )
    values = {"since": since, "until": until, "now": now, "key": key}
    parameters = tuple(values[name] for name in _PARAMETER.findall(sql))
    return Query(_PARAMETER.sub("?", sql), parameters)

"""Marks of stops that are carried out while the log cannot be written: names in an attempt's directory, and no content.

A full disk has no block for a file, but the directory has room for another name of one. So a mark is a second name of
`identity.json` (where even that takes an inode: a new name of `status.json`, a copy), and all that it says is in it:

    stop.AT.STAGE.CRC
    stop.AT.STAGE.CAUSE.GRACE.GRACE.GRACE.CORRELATION.ACTOR.REASON.CRC

the second form for the signal that an order began with, or (STAGE 0) for a next attempt that it called off. Times are
microseconds; CORRELATION is a uuid, ACTOR and REASON are base64 of UTF-8 without padding, cut to what a name can hold,
REASON is `-` for none. The checksum is over the attempt's name, too. What was not written so is no mark.
"""

from __future__ import annotations

import contextlib
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import crc32
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, cast

from eventstore.appending import Draft
from eventstore.crashpoints import crash_point
from eventstore.events import AgentCancelled, Event, SigkillSent, SigtermSent, StopRequested, ZombieReaped
from manager import commands as do
from manager.process.attempt_dir import name_of
from manager.recordable import recordable

PREFIX = "stop."
NAME_BYTES = 255
ACTOR_BYTES = 60
_CUT = "…"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MARK = re.compile(
    r"stop\.(?P<at>[1-9]\d{0,17})\.(?P<stage>[0-3])"
    r"(?:\.(?P<cause>user|restart|limit|health|shutdown)\.(?P<grace>\d{1,14}\.\d{1,14}\.\d{1,14})"
    rf"\.(?P<correlation>{_UUID})\.(?P<actor>[\w-]+)\.(?P<reason>[\w-]*))?\.[0-9a-f]{{8}}",
    re.ASCII,
)


class Found(NamedTuple):
    """What the marks in a directory say, earliest first; their names; and of each that says nothing, why."""

    signals: tuple[do.RecallSignal, ...]
    names: tuple[str, ...]
    problems: tuple[str, ...]


class StopMarks:
    """The marks in a home that wait to be in the log. For one thread."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._waiting: dict[str, set[str]] = {}

    def leave(self, unrecorded: Sequence[Draft]) -> None:
        """Mark each step of a stop that is announced in there; where there is no way to, it is done unmarked."""
        for agent_id, directory, signal in _announced(unrecorded):
            path = self._home / directory
            mark = str(path / name_for(signal, directory))
            if mark in self._waiting.get(agent_id, ()):
                continue
            with contextlib.suppress(OSError):
                _make(path, mark)
            self._waiting.setdefault(agent_id, set()).add(mark)

    def adopt(self, agent_id: str, path: str, names: Iterable[str]) -> None:
        """Take over what an earlier coordinator left, to be removed by `settle`."""
        for name in names:
            self._waiting.setdefault(agent_id, set()).add(f"{path}/{name}")

    def settle(self, agent_id: str) -> None:
        """Remove the marks of an agent: the log has what they say."""
        for mark in self._waiting.pop(agent_id, ()):
            crash_point("coordinator.before_stop_mark_removed")
            with contextlib.suppress(OSError):
                os.unlink(mark)
            crash_point("coordinator.after_stop_mark_removed")


def read(path: str) -> Found:
    """The marks in an attempt's directory. Raises OSError when we, not the directory, are at fault."""
    try:
        names = [name for name in os.listdir(path) if name.startswith(PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    parsed = {name: parse(name, name_of(path)) for name in names}
    known = {name: one for name, one in parsed.items() if isinstance(one, do.RecallSignal)}
    return Found(
        signals=tuple(sorted(known.values(), key=lambda one: (one.at, one.stage))),
        names=tuple(known),
        problems=tuple(one for one in parsed.values() if isinstance(one, str)),
    )


def name_for(signal: do.RecallSignal, directory: str) -> str:
    """The mark's name in the directory of an attempt."""
    start = f"{PREFIX}{signal.at}.{signal.stage}"
    order = signal.order
    if order is not None:
        grace = ".".join(str(round(seconds * 1e6)) for seconds in order.grace_seconds)
        start = f"{start}.{order.cause}.{grace}.{order.correlation_id}.{_text(order.actor, ACTOR_BYTES)}"
        room = (NAME_BYTES - len(start) - len("..") - 8) * 3 // 4
        start = f"{start}.{'-' if order.reason is None else _text(order.reason, room)}"
    return f"{start}.{_checksum(start, name_of(directory))}"


def parse(name: str, attempt: str) -> do.RecallSignal | str:
    """What a mark of an attempt ("agent/number") says, or why it cannot be used."""
    match = _MARK.fullmatch(name)
    if match is None:
        return f"{name!r} is no mark of a stop"
    if _checksum(name.rpartition(".")[0], attempt) != name[-8:]:
        return f"the checksum of {name!r} differs, or it is another attempt's"
    at, stage = int(match["at"]), cast("do.Stage", int(match["stage"]))
    if match["cause"] is None:
        return do.RecallSignal(at=at, stage=stage)
    try:
        actor, reason = _told(match["actor"]), None if match["reason"] == "-" else _told(match["reason"])
    except ValueError as error:
        return f"the text in {name!r} cannot be read: {error}"
    first, second, third = (int(part) / 1e6 for part in match["grace"].split("."))
    order = do.RecalledOrder(
        actor=actor,
        correlation_id=match["correlation"],
        cause=cast("do.StopCause", match["cause"]),
        reason=reason,
        grace_seconds=(first, second, third),
    )
    return do.RecallSignal(at=at, stage=stage, order=order)


def _announced(unrecorded: Sequence[Draft]) -> Iterator[tuple[str, str, do.RecallSignal]]:
    """Agent, directory in the home, and step; with the order where that is not in the log either."""
    orders: dict[str, do.RecalledOrder] = {}
    before: dict[str, Draft] = {}
    for one, following in zip_longest(unrecorded, unrecorded[1:]):
        step: do.RecallSignal | None = None
        if isinstance(one.event, StopRequested):
            order = _order(one, one.event.cause, one.event.reason, one.event.grace_seconds)
            if isinstance(_event(following), SigtermSent | SigkillSent):
                orders[one.stream] = order
            elif order.cause != "restart":  # of a restart that is under way
                step = do.RecallSignal(at=one.occurred_at, stage=0, order=order)
        elif isinstance(one.event, SigtermSent | SigkillSent):
            stage = one.event.stage if isinstance(one.event, SigtermSent) else 3
            step = do.RecallSignal(at=one.occurred_at, stage=stage, order=orders.pop(one.stream, None))
        elif isinstance(one.event, AgentCancelled) and not isinstance(
            _event(before.get(one.stream)), ZombieReaped
        ):
            order = _order(one, "user", one.event.reason, (0.0, 0.0, 0.0))
            step = do.RecallSignal(at=one.occurred_at, stage=0, order=order)
        before[one.stream] = one
        if step is not None:
            agent_id = one.stream.removeprefix("agent/")
            yield agent_id, f"agents/{agent_id}/{one.attempt}", step


def _order(
    one: Draft, cause: do.StopCause, reason: str | None, grace: tuple[float, float, float]
) -> do.RecalledOrder:
    return do.RecalledOrder(
        actor=one.actor, correlation_id=one.correlation_id, cause=cause, reason=reason, grace_seconds=grace
    )


def _event(one: Draft | None) -> Event | None:
    return None if one is None else one.event


def _make(path: Path, mark: str) -> None:
    if path.is_symlink():
        return  # another directory, perhaps another attempt's
    try:
        crash_point("coordinator.before_stop_mark")
        os.link(path / "identity.json", mark, follow_symlinks=False)
        crash_point("coordinator.after_stop_mark")
    except FileExistsError:
        return
    except OSError:
        crash_point("coordinator.before_stop_mark")
        os.rename(path / "status.json", mark)
        crash_point("coordinator.after_stop_mark")


def _text(text: str, most_bytes: int) -> str:
    content = text.encode()
    if len(content) > most_bytes:
        content = content[: most_bytes - len(_CUT.encode())].decode(errors="ignore").encode() + _CUT.encode()
    return urlsafe_b64encode(content).decode().rstrip("=")


def _told(coded: str) -> str:
    content = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    return recordable(content.decode())


def _checksum(start: str, attempt: str) -> str:
    return f"{crc32(f'{attempt} {start}'.encode()):08x}"

"""Launching from an event loop: requests to the launcher, descriptors back, the shims' reports as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from eventstore.crashpoints import crash_point
from manager.attachment import Attachment
from manager.process.launch import Launched, LauncherClient, LauncherGone, LaunchRefused, parse_reports

UNHEARD_SECONDS = 1.0  # for a shim that cannot report to write what it has to say


class _Pending(NamedTuple):
    agent_id: str
    attachment: Attachment


class Launchpad:
    """Owns the launcher of this coordinator, started at the first launch and again whenever it is gone.

    `on_report(agent_id, record)` gets each record that a shim has just put on disk, then `{"record": "end"}`;
    `on_failed(agent_id, phase, errno, message)` when there will be no shim; `on_lost(agent_id)` when the launcher left
    without an answer, so that only the attempt's directory can tell.
    """

    def __init__(
        self,
        *,
        on_report: Callable[[str, dict[str, Any]], None],
        on_failed: Callable[[str, str, int | None, str], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_report = on_report
        self._on_failed = on_failed
        self._on_lost = on_lost
        self._client: LauncherClient | None = None
        self._pending: dict[int, _Pending] = {}
        self._reports: dict[int, tuple[str, bytearray]] = {}
        self._number = 0
        self._is_idle = asyncio.Event()

    def launch(self, agent_id: str, request: dict[str, Any], attachment: Attachment) -> None:
        """Ask for one attempt; whatever comes of it is told by the callbacks."""
        self._number += 1
        phase = "mkdir"
        try:
            crash_point("coordinator.before_agent_directory")
            agent = os.path.dirname(request["attempt_dir"])
            os.makedirs(agent, mode=0o700, exist_ok=True)
            crash_point("coordinator.after_agent_directory")
            os.chmod(agent, 0o700)  # whatever the umask
            crash_point("coordinator.after_agent_directory")
            phase = "launch"
            self._pending[self._number] = _Pending(agent_id, attachment)
            client = self._started()
            crash_point("coordinator.before_request")
            client.submit({**request, "request": self._number})
            crash_point("coordinator.after_request")
            if client.has_unsent:
                self._flush_when_writable(client)
        except LauncherGone:
            self._gone()
        except (OSError, ValueError) as error:
            self._pending.pop(self._number, None)
            number, message = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
            self._on_failed(agent_id, phase, number, message)

    async def settle(self, seconds: float) -> None:
        """Return once the launcher has taken every request, or in `seconds`: it drops those of one who has left."""
        if self._pending:
            self._is_idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_idle.wait(), seconds)

    def close(self) -> None:
        """Let the launcher and all descriptors go; shims live on."""
        self._drop_client()
        for descriptor in list(self._reports):
            self._end_report(descriptor)

    def _started(self) -> LauncherClient:
        if self._client is None:
            client = LauncherClient()
            crash_point("coordinator.before_launcher")
            client.start()
            crash_point("coordinator.after_launcher")
            try:
                self._loop.add_reader(client.fileno(), self._receive)
            except OSError:  # its answers would never be heard
                client.close()
                raise
            self._client = client
        return self._client

    def _flush_when_writable(self, client: LauncherClient) -> None:
        """Raises `LauncherGone` when that cannot be known: then what was asked for must not be sent any more."""
        try:
            self._loop.add_writer(client.fileno(), self._flush)
        except OSError as error:
            raise LauncherGone("cannot go on sending to the launcher") from error

    def _flush(self) -> None:
        assert self._client is not None
        try:
            if self._client.flush():
                self._loop.remove_writer(self._client.fileno())
        except LauncherGone:
            self._gone()

    def _receive(self) -> None:
        assert self._client is not None
        try:
            answers = self._client.receive()
        except LauncherGone:
            self._gone()
            return
        for answer in answers:
            pending = self._pending.pop(answer.request, None)
            if isinstance(answer, LaunchRefused):
                if pending is not None:
                    self._on_failed(pending.agent_id, answer.phase, answer.errno, answer.message)
            elif pending is None:
                _close_all(answer)
            elif not self._hears(pending, answer):
                _close_all(answer)  # we lack descriptors or memory; by then the shim has made its directory
                again = partial(self._on_lost, pending.agent_id)
                pending.attachment.later("look", UNHEARD_SECONDS, again)
            else:
                pending.attachment.hold_shim(answer.shim_pidfd)
        if not self._pending:
            self._is_idle.set()

    def _hears(self, pending: _Pending, answer: Launched) -> bool:
        """Whether the reports of this shim will be read."""
        if answer.report_fd is None:
            return False
        try:
            os.set_blocking(answer.report_fd, False)
            self._loop.add_reader(answer.report_fd, self._read_report, answer.report_fd)
        except OSError:
            return False
        self._reports[answer.report_fd] = (pending.agent_id, bytearray())
        return True

    def _read_report(self, descriptor: int) -> None:
        agent_id, buffer = self._reports[descriptor]
        try:
            content = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:  # the records say the same
            content = b""
        buffer += content
        whole, _, rest = bytes(buffer).rpartition(b"\n")
        buffer[:] = rest
        for record in parse_reports(whole + b"\n") if whole else []:
            self._on_report(agent_id, record)
        if not content:
            self._end_report(descriptor)
            self._on_report(agent_id, {"record": "end"})

    def _end_report(self, descriptor: int) -> None:
        if self._reports.pop(descriptor, None) is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _gone(self) -> None:
        self._drop_client()
        lost, self._pending = self._pending, {}
        self._is_idle.set()
        for pending in lost.values():
            self._on_lost(pending.agent_id)

    def _drop_client(self) -> None:
        if self._client is not None:
            descriptor = self._client.fileno()
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
            crash_point("coordinator.before_launcher_goes")
            self._client.close()
            crash_point("coordinator.after_launcher_goes")
            self._client = None


def _close_all(answer: Launched) -> None:
    for descriptor in (answer.shim_pidfd, answer.report_fd):
        if descriptor is not None:
            os.close(descriptor)

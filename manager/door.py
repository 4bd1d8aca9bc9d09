"""Acting on a home from a command: as its coordinator for a moment, or by asking the one that holds it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eventstore.errors import OutliveError
from manager import launching
from manager.control import NoCoordinator, ask
from manager.errors import TimedOut
from manager.home import Home, HomeBusy
from manager.manager import Manager
from manager.spec import AgentSpec, Grace, check_grace
from manager.status import AgentStatus, Erasure, RecoveryReport

ASK_SECONDS = 5.0  # a holder between its lock and its socket, or on its way out, is asked again

_T = TypeVar("_T")


@contextlib.contextmanager
def open_door(
    home: Path, database_url: str | None, *, actor: str, takeover: bool = False, only_asks: bool = False
) -> Iterator[Door]:
    """A door to the home; it opens at its first use, and is closed behind the block.

    `only_asks`: whoever holds the home; raises `NoCoordinator` where nobody does.
    """
    door = Door(home, database_url, actor=actor, takeover=takeover, only_asks=only_asks)
    try:
        yield door
    finally:
        door.close()


class Door:
    """What commands do. Methods raise as those of `Manager` do; `HomeBusy` when a holder does not answer."""

    def __init__(
        self, home: Path, database_url: str | None, *, actor: str, takeover: bool, only_asks: bool
    ) -> None:
        self._home = home
        self._url = database_url
        self._actor = actor
        self._takeover = takeover
        self._only_asks = only_asks
        self._manager: Manager | None = None

    def close(self) -> None:
        """Let go of the home, if it is held."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def spawn(self, spec: AgentSpec, name: str | None = None, *, wait: bool = True) -> AgentStatus:
        """Start one agent with this process's environment and directory. Raises `StartFailed`, `NameInUse`."""
        request = launching.first_request(spec, nofile=launching.descriptor_limit())
        arguments = {"spec": spec.model_dump(mode="json"), "name": name, "request": request, "wait": wait}
        return self._act(
            lambda manager: manager.spawn_prepared(spec, name, request, wait=wait),
            lambda: AgentStatus.from_json(self._ask("spawn", arguments)),
            is_repeatable=False,
        )

    def stop(
        self,
        agents: Sequence[str],
        *,
        grace: Grace | None = None,
        reason: str | None = None,
        wait: bool = True,
    ) -> list[AgentStatus]:
        """Stop agents side by side, in three stages."""
        return self._stop(agents, check_grace(grace), reason, wait, forced=False)

    def kill(
        self, agents: Sequence[str], *, reason: str | None = None, wait: bool = True
    ) -> list[AgentStatus]:
        """SIGKILL whole trees at once."""
        return self._stop(agents, None, reason, wait, forced=True)

    def signal(self, agent: str, signum: int, *, reason: str | None = None) -> AgentStatus:
        """One signal to the main process."""
        arguments = {"agent": agent, "signum": signum, "reason": reason}
        return self._act(
            lambda manager: manager.signal(agent, signum, reason=reason),
            lambda: AgentStatus.from_json(self._ask("signal", arguments)),
            is_repeatable=False,
        )

    def restart(self, agent: str, *, reason: str | None = None, wait: bool = True) -> AgentStatus:
        """Stop it if it runs, and start its next attempt."""
        arguments = {"agent": agent, "reason": reason, "wait": wait}
        return self._act(
            lambda manager: manager.restart(agent, reason=reason, wait=wait),
            lambda: AgentStatus.from_json(self._ask("restart", arguments)),
            is_repeatable=False,
        )

    def wait(
        self, agents: Sequence[str], *, any: bool = False, timeout: float | None = None
    ) -> list[AgentStatus]:
        """Until all, or any, have ended. Raises `TimedOut`."""
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        try:
            return self._act(
                lambda manager: manager.wait_many(agents, any=any, timeout=left()),
                lambda: _statuses(self._ask("wait", {"agents": list(agents), "any": any, "timeout": left()})),
            )
        except TimedOut as late:  # which tells of what was left of it when the home was open
            raise TimedOut.after(timeout or 0.0) from late

    def recover(self) -> RecoveryReport:
        """Replay, compare, re-attach; what was found."""
        return self._act(
            lambda manager: manager.recovery or manager.recover(),
            lambda: RecoveryReport(**self._ask("recover", {})),
            announce=True,
        )

    def finish_stops(self) -> list[AgentStatus]:
        """See the stops to their end that were found half done; a coordinator that holds the home does so itself."""
        return [] if self._manager is None else self._manager.finish_stops()

    def erase(self, agent: str, *, output: bool = False, reason: str | None = None) -> Erasure:
        """Erase what failures of an agent keep of its output, and (`output`) its files."""

        def there() -> Erasure:
            found = self._ask("erase", {"agent": agent, "output": output, "reason": reason})
            return Erasure(**{**found, "files": tuple(found["files"])})

        return self._act(lambda manager: manager.erase(agent, output=output, reason=reason), there)

    def _stop(
        self, agents: Sequence[str], grace: Grace | None, reason: str | None, wait: bool, *, forced: bool
    ) -> list[AgentStatus]:
        arguments = {
            "agents": list(agents),
            "grace": None if grace is None else list(grace),
            "reason": reason,
            "wait": wait,
            "forced": forced,
        }
        return self._act(
            lambda manager: manager.stop_many(agents, grace=grace, reason=reason, wait=wait, forced=forced),
            lambda: _statuses(self._ask("stop", arguments)),
            ends_agents=True,
        )

    def _act(
        self,
        here: Callable[[Manager], _T],
        there: Callable[[], _T],
        *,
        is_repeatable: bool = True,
        announce: bool = False,
        ends_agents: bool = False,
    ) -> _T:
        if self._only_asks:
            return there()
        deadline = time.monotonic() + ASK_SECONDS
        while True:
            try:
                if self._manager is None:
                    self._manager = Manager.open(
                        self._home,
                        self._url,
                        self._actor,
                        takeover=self._takeover,
                        announce=announce,
                        ends_agents=ends_agents,
                    )
                return here(self._manager)
            except HomeBusy as busy:
                try:
                    return there()
                except NoCoordinator as error:
                    if error.was_accepted and not is_repeatable:
                        raise OutliveError(
                            "cannot tell whether it was done: the coordinator left before it answered; "
                            "look with `outlive ps` and `outlive events`"
                        ) from error
                    if error.was_accepted:  # it may have been at it for days
                        deadline = time.monotonic() + ASK_SECONDS
                    if time.monotonic() >= deadline or busy.is_stopped:
                        raise busy from error
                    time.sleep(0.05)

    def _ask(self, method: str, arguments: dict[str, Any]) -> Any:
        return ask(Home(self._home).control_socket, method, arguments, actor=self._actor)


def _statuses(content: list[dict[str, Any]]) -> list[AgentStatus]:
    return [AgentStatus.from_json(item) for item in content]

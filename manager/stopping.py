"""The signals of a stop: whom each recorded stage is for. The events that announce them are durable by then."""

from __future__ import annotations

import signal

from eventstore.crashpoints import crash_point
from eventstore.state import Stop
from manager.attachment import Attachment
from manager.commands import AdvanceStop
from manager.process import cgroup, tree
from manager.process.signalling import send_signal

LEFTOVERS_SECONDS = 1.0  # the loop waits for it; only an uninterruptible process outlasts SIGKILL by so much
KILL_AGAIN_SECONDS = 0.05  # a process forked while we looked is found by the next look


def pursue(stop: Stop, attachment: Attachment) -> float | None:
    """Send the signals of the present stage; the seconds after which to do so again, None for not.

    Stage 1 is SIGTERM to the main process (to the roots of what it left, once it has ended), stage 2 SIGTERM to the
    whole tree; each with SIGCONT, since a stopped process cannot end itself. Stage 3 is SIGKILL to the whole tree.
    """
    if stop.stage == 1:
        _signal(attachment, signal.SIGTERM, whole_tree=False)
    elif stop.stage == 2:
        _signal(attachment, signal.SIGTERM, whole_tree=True)
    elif stop.stage == 3:
        crash_point("coordinator.before_kill")
        _signal(attachment, signal.SIGKILL, whole_tree=True)
        crash_point("coordinator.after_kill")
        if attachment.process is not None and attachment.process.cgroup is not None:
            cgroup.kill(attachment.process.cgroup)
            crash_point("coordinator.after_group_kill")
        return KILL_AGAIN_SECONDS
    return None


def signal_main(attachment: Attachment, signum: int) -> None:
    """One signal to the main process (or the roots of what it left)."""
    for process in attachment.roots():
        crash_point("coordinator.before_signal")
        send_signal(process, signum)
        crash_point("coordinator.after_signal")


def deadline_passed(attachment: Attachment) -> AdvanceStop:
    """The command that says so, with which processes the stop has not ended so far."""
    pids = leftovers(attachment)
    if pids:
        return AdvanceStop(detail=f"still there: {', '.join(map(str, pids[:20]))}")
    if attachment.has_main_ended() and attachment.shim() is not None:
        detail = "its processes have ended, but its exit could not be written yet: is the disk full?"
        return AdvanceStop(detail=detail, is_tree_gone=True)
    return AdvanceStop(detail="its end was not confirmed")


def leftovers(attachment: Attachment) -> list[int]:
    """The pids that are still there of an attempt whose main process has ended."""
    return [process.pid for process in attachment.members()]


def kill_leftovers(attachment: Attachment) -> None:
    """SIGKILL what an attempt left behind, in place of its lost shim: what carries its token or is in its cgroup."""
    group = None if attachment.process is None else attachment.process.cgroup
    tree.kill_tree(None, token=attachment.token, cgroup=group, deadline_seconds=LEFTOVERS_SECONDS)


def _signal(attachment: Attachment, signum: int, *, whole_tree: bool) -> None:
    for process in attachment.members() if whole_tree else attachment.roots():
        crash_point("coordinator.before_signal")
        send_signal(process, signum)
        crash_point("coordinator.after_signal")
        if signum != signal.SIGKILL:
            send_signal(process, signal.SIGCONT)
            crash_point("coordinator.after_continue")

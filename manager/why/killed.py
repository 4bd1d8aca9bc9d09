"""What is known of a kill by the kernel for want of memory, of the main process or of one of its tree. Pure."""

from __future__ import annotations

from manager.why.history import History
from manager.why.parts import Evidence

SIGKILL = 9
SHELLS_SIGNALS = range(129, 166)  # exit codes with which a shell reports a child's signal: 128 + n


def oom_evidence(history: History, whom: str = "it") -> list[Evidence]:
    """Whether the kernel has killed `whom` for want of memory, and who says so."""
    answer = None if history.reaped is None else history.reaped.data.get("oom_killed")
    of_cgroup = history.process.get("cgroup") is not None
    where = "the counter of its own cgroup" if of_cgroup else "the kernel's log"
    text = f"whether the kernel killed {whom} for want of memory could not be seen"
    if answer is not None:
        text = (
            f"{where} says that the kernel {'killed' if answer else 'did not kill'} {whom} for want of memory"
        )
    positions = () if history.reaped is None else (history.reaped.position,)
    return [Evidence(source="nobody" if answer is None else "kernel", text=text, positions=positions)]


def shell_evidence(history: History) -> list[Evidence]:
    """What an exit code of 128 + n may mean; that its child was killed is then known to the shell alone."""
    code = (history.exit or {}).get("code")
    if code is None or code not in SHELLS_SIGNALS:
        return []
    number = code - 128
    text = f"it ended by itself, with {code}: a shell does so when the command that it ran was ended by signal {number}"
    evidence = [Evidence(source="nobody", text=f"{text}; whether that was so is not recorded")]
    was_killed = history.reaped is not None and history.reaped.data.get("oom_killed")
    return (
        [*evidence, *oom_evidence(history, "a process of its tree")]
        if number == SIGKILL or was_killed
        else evidence
    )

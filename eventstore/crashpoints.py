"""Named places where a test can make the running process kill itself.

``OUTLIVE_CRASH=name:N`` SIGKILLs the process that reaches ``crash_point(name)`` for the N-th time. In a shim and its
child N is the number of the shim that its launcher has forked, and ``name:N.M`` means the M-th time there.
``name:N:FILE`` happens once, to one process alone: FILE is made first, and says ``PID DIRECTORY`` with the attempt's
directory for a shim and its child, ``-`` for others. ``OUTLIVE_STOP`` is the same with SIGSTOP. Each may hold several,
separated by commas.

Each effect that must survive a crash has a point on both sides; a test reads the source for it. Without the variables a
point costs one comparison.
"""

import os

_PLACES = {
    "client": """
        before_connect after_connect after_request after_accept
    """,
    "coordinator": """
        before_old_control_socket before_control_socket after_old_control_socket after_control_socket
        after_control_mode after_listen before_deaf after_deaf after_control_socket_removed before_accept
        after_accept before_reply after_reply after_hanging_up before_refusal after_refusal before_home_parents
        after_home_parents after_home before_agents_directory after_agents_directory before_home_draft
        after_home_draft after_home_draft_written after_home_draft_synced after_home_identity
        after_home_draft_removed before_old_draft after_old_draft before_home_identity_renewed
        after_home_identity_renewed before_home_identity before_lock after_lock_file after_lock before_takeover
        after_takeover after_unlock before_holder after_holder_cleared after_holder before_epoch after_epoch
        before_recovery after_recovery before_commit after_commit before_agent_directory after_agent_directory
        before_request after_request before_launcher after_launcher before_launcher_goes after_launcher_goes
        before_send after_send before_spawn after_spawn after_spawner_reaped before_look before_kill after_kill
        after_group_kill before_signal after_signal after_continue before_leftover_kill after_leftover_kill
        after_leftover_group_kill before_group_removal after_group_removal before_claim before_claim_parent
        after_claim_parent after_claim before_claim_lock after_claim_lock_file after_claim_lock after_claim_file
        after_claim_tidied before_status_file after_status_file after_status_written after_status_cut
        before_output_erased after_output_erased before_stop_mark after_stop_mark before_stop_mark_removed
        after_stop_mark_removed
    """,
    "store": """
        before_rollback_of_creation after_rollback_of_creation before_close after_close before_pragma
        after_pragma before_creation before_migration after_migration after_creation before_rollback
        after_rollback before_database_file after_database_file after_database_mode after_database_directory
        before_queue after_queue after_lock after_unqueue before_unlock after_unlock before_lock_file
        after_lock_file after_lock_file_mode before_begin after_begin before_commit after_commit before_insert
        after_insert after_projections before_head after_head before_head_draft after_old_head_draft
        after_head_draft after_head_draft_mode after_head_draft_written after_head_draft_synced
        before_head_named after_head_named before_head_directory after_head_draft_removed after_head_directory
        before_checkpoint_file after_checkpoint_file before_checkpoint after_checkpoint after_checkpoint_synced
        before_checkpoint_directory after_checkpoint_directory before_checkpointed after_checkpointed
        before_scrub after_scrub
    """,
    "tool": """
        before_key after_key after_key_mode after_key_written after_key_synced before_draft after_draft
        after_draft_written after_draft_synced after_draft_named after_draft_removed before_directory_sync
        after_directory_sync before_prune after_prune before_directory after_directory before_directories_sync
        after_directories_sync before_list_removed after_list_removed before_move after_move
    """,
    "launcher": """
        started before_reap after_reap before_fork after_fork before_answer after_rights after_answer
    """,
    "shim": """
        before_record before_stale_record_removed after_stale_record_removed after_record_made
        after_record_written after_record_synced after_record_named after_record_durable before_fork after_fork
        after_spec before_group after_group before_mkdir after_mkdir after_lock_file after_lock after_identity
        before_refusal after_child_turned_away before_refused_group_removal after_refusal before_gate after_gate
        before_exit_record after_exit_record after_sweep before_unlock before_reap after_reap before_exec_record
        after_exec_record before_orphan_reap after_orphan_reap before_main_record after_main_record
        after_main_reap before_group_removal after_group_removal before_report after_report
        before_empty_group_removal after_empty_group_removal before_group_kill after_group_kill
        before_session_kill after_session_kill before_kill after_kill before_leftover_reap after_leftover_reap
    """,
    "child": """
        started after_gate before_group after_group before_exec before_logs after_stdout_log after_logs
        before_report after_report
    """,
}
POINTS = frozenset(f"{role}.{place}" for role, places in _PLACES.items() for place in places.split())
VARIABLES = ("OUTLIVE_CRASH", "OUTLIVE_STOP")
_KILL, _STOP = 9, 19  # the module signal is not worth its import in a launcher

# Signal, N, M and FILE by name; empty until the environment has been read, None when nothing was asked for.
_armed: dict[str, tuple[int, int, int, str]] | None = {}
_hits: dict[str, int] = {}
_shim = 0
_request = b"-"


def crash_point(name: str) -> None:
    """Return at once, or never, when the environment asks for a crash at this point's N-th hit.

    Raises KeyError for a name that is not in ``POINTS``, but only while one of the variables is set.
    """
    if _armed is not None:
        _hit(name)


def is_armed() -> bool:
    """Whether the environment asks for a crash."""
    return bool(_armed or (_armed is not None and _read_environment()))


def count_as_shim(number: int, request: bytes) -> None:
    """Count this process's points as those of its launcher's shim `number`; `request` begins with its path."""
    global _shim, _request
    _shim, _request = number, request
    _hits.clear()


def arm(crashes: str, stops: str = "") -> None:
    """Ask this process for what the variables ask for, counting from now. Raises KeyError for an unknown name."""
    global _armed
    armed = {}
    for signum, wanted in ((_KILL, crashes), (_STOP, stops)):
        for one in filter(None, wanted.split(",")):
            name, _, rest = one.partition(":")
            count, _, witness = rest.partition(":")
            number, _, hit = count.partition(".")
            armed[name] = signum, int(number or 1), int(hit or 1), witness
            if name not in POINTS:
                raise KeyError(f"cannot crash at {name!r}: {' or '.join(VARIABLES)} names no known point")
    _armed = armed or None
    _hits.clear()


def _hit(name: str) -> None:
    if not _armed and not _read_environment():
        return
    if name not in POINTS:
        raise KeyError(f"cannot crash at {name!r}: it is not in POINTS; add it to eventstore/crashpoints.py")
    if _armed is None or name not in _armed:
        return
    _hits[name] = hits = _hits.get(name, 0) + 1
    signum, number, hit, witness = _armed[name]
    if (_shim or hits) == number and (not _shim or hits == hit) and _is_first(witness):
        os.kill(os.getpid(), signum)
        if signum == _KILL:
            os._exit(137)  # Only PID 1 of a namespace gets here: it is immune to its own SIGKILL.


def _read_environment() -> bool:
    arm(*(os.environ.get(name, "") for name in VARIABLES))
    return _armed is not None


def _is_first(witness: str) -> bool:
    """Leave the witness, if one is asked for; False when another process has done so before."""
    if not witness:
        return True
    try:
        descriptor = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, b"%d %b\n" % (os.getpid(), _request.partition(b"\0")[0]))
    os.close(descriptor)
    return True

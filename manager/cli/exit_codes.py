"""Every exit code of `outlive`, and the one table that gives each error its code.

0 to 8 follow the LSB's status codes where they have one; 124 to 127 are those of timeout(1) and of the shells.
"""

from __future__ import annotations

import errno

DONE = 0
FAILED = 1
USAGE = 2
NOT_RUNNING = 3
UNKNOWN_AGENT = 4
NOT_VERIFIED = 5
INTEGRITY = 6
UNREACHABLE = 7
CONFLICT = 8
TIMED_OUT = 124
OUTLIVE_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERRUPTED = 130
BROKEN_PIPE = 141

# By class name, nearest first along the class's bases: looking a code up must not import what was never used.
ERROR_CODES = {
    "InvalidRequest": USAGE,
    "ValidationError": USAGE,
    "UnknownAgent": UNKNOWN_AGENT,
    "AmbiguousAgent": CONFLICT,
    "NameInUse": CONFLICT,
    "SpecConflict": CONFLICT,
    "VersionConflict": CONFLICT,
    "EventIdConflict": CONFLICT,
    "EpochFenced": CONFLICT,
    "IllegalTransition": INTEGRITY,
    "StoreDamaged": INTEGRITY,
    "NotWhole": INTEGRITY,
    "StoreUnavailable": UNREACHABLE,
    "SchemaMismatch": UNREACHABLE,
    "HomeBusy": UNREACHABLE,
    "NoCoordinator": UNREACHABLE,
    "HomeError": FAILED,
    "StartFailed": FAILED,
    "TimedOut": TIMED_OUT,
    "OutliveError": FAILED,
}

_NOT_EXECUTABLE = frozenset({errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR})


def of_error(error: BaseException) -> int:
    """The exit code for `error`; `OUTLIVE_FAILED` for one that nobody raised on purpose."""
    for cls in type(error).__mro__:
        if cls.__name__ in ERROR_CODES:
            return ERROR_CODES[cls.__name__]
    return OUTLIVE_FAILED


def of_failed_start(*, phase: str | None, number: int | None) -> int:
    """127 and 126 as a shell has them when the program could not be executed, `FAILED` for any other failed start."""
    if phase != "exec" or number is None:
        return FAILED
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NOT_FOUND
    return NOT_EXECUTABLE if number in _NOT_EXECUTABLE else FAILED

"""Whether a coordinator holds a home now, asked without disturbing it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def is_held(home: Path) -> bool:
    """Whether somebody has the home's lock. Creates nothing; a home that nobody ever held is not held."""
    try:
        descriptor = os.open(home / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared and given back at once: whoever wants the lock in this instant tries longer than that.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)

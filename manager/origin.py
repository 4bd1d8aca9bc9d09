"""Who is behind an order."""

from __future__ import annotations

import getpass
import os
import uuid
from typing import NamedTuple


class Origin(NamedTuple):
    """Who is behind an order, and the id that joins all that follows from it."""

    actor: str
    correlation_id: str

    @classmethod
    def of(cls, actor: str) -> Origin:
        """A new order by `actor`."""
        return cls(actor, str(uuid.uuid4()))


def user_name() -> str:
    """Who we are, for the log: the user's name, or the number where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"

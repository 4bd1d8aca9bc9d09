"""Running something as if the host had been booted another time: with another boot id, in a mount namespace."""

from __future__ import annotations

import uuid
from pathlib import Path

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOUNT = f'mount --bind "$0" {BOOT_ID} && exec "$@"'


def under_another_boot(place: Path) -> list[str]:
    """The words before a command line; the file with the boot id is made in `place`. Needs root."""
    path = place / f"boot-{uuid.uuid4()}"
    path.write_text(f"{uuid.uuid4()}\n")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT, str(path)]

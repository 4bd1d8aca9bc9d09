"""The command `outlive`: a first look at processes, where CPU use is shown, and then `manager.cli.main`."""

from __future__ import annotations

import gc
import sys

_LOOKING = frozenset({"ps", "status", "health"})
# How many objects are made before Python looks for garbage among them. A command loads some 100,000 that stay; at
# Python's own 700 the looks take a twelfth of its CPU time.
_YOUNG_OBJECTS = 50_000


def main() -> int:
    """Run the process's command line; the exit code. For a process that ends with it."""
    gc.set_threshold(_YOUNG_OBJECTS)
    if not _LOOKING.isdisjoint(sys.argv):
        from manager import firstlook

        firstlook.take()
    from manager.cli.main import main as run

    try:
        return run()
    finally:
        gc.disable()  # Python would look at all objects twice before it ends


if __name__ == "__main__":
    sys.exit(main())

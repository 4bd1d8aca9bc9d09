"""The command `outlive`: a first look at processes, where CPU use is shown, and then `manager.cli.main`."""

from __future__ import annotations

import sys

_LOOKING = frozenset({"ps", "status", "health"})


def main() -> int:
    """Run the process's command line; the exit code."""
    if not _LOOKING.isdisjoint(sys.argv):
        from manager import firstlook

        firstlook.take()
    from manager.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())

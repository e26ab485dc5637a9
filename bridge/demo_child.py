"""``python -m bridge.demo_child PARENT ARGUMENTS...``: the command line, in a process that does not outlive PARENT."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["main"]

PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def main() -> None:
    """Runs ``bridge ARGUMENTS...``."""
    end_with(int(sys.argv.pop(1)))
    # Only now, because this takes a while, and the parent may be gone by then.
    from bridge.__main__ import main as run

    sys.argv[0] = "bridge"
    run()


def end_with(parent: int) -> None:
    """Asks the kernel for SIGTERM when the parent is gone, even if it was killed (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before we asked
        sys.exit(1)


if __name__ == "__main__":
    main()

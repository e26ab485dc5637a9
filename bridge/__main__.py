"""``python -m bridge`` and the command ``bridge``."""

from __future__ import annotations

import os
import sys

from bridge.cli import main as run_command_line

__all__ = ["main"]


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    # Before anything imports gRPC: its C core reads this once, and would write lines of its own to stderr.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(run_command_line())


if __name__ == "__main__":
    main()

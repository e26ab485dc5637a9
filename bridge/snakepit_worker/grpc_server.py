#!/usr/bin/env python3
"""The script that a Snakepit pool runs; it has the name that the pool's search for orphans expects."""

import sys
from pathlib import Path

if __name__ == "__main__":
    _own = Path(__file__).resolve()
    # Python looks for modules beside a script first: there, `main` and `arguments` are ours and nobody else's.
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _own.parent]
    if str(_own.parents[2]) not in sys.path:
        sys.path.append(str(_own.parents[2]))  # an interpreter in which the package is not installed

    from bridge.snakepit_worker.main import run

    sys.exit(run(sys.argv[1:]))

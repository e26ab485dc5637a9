"""Virtual environments of peers and of the plot, one each, so that nobody's dependencies meet."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["ROOT", "python_of"]

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""


def python_of(name: str, requirements: list[str]) -> Path:
    """The interpreter of ``.venv-bench-NAME`` with the requirements installed; made at the first use.

    Raises ``RuntimeError`` with pip's words if that fails.
    """
    folder = ROOT / f".venv-bench-{name}"
    python, marker = folder / "bin" / "python", folder / "bench-requirements.txt"
    wanted = "\n".join([sys.version, *requirements])
    if marker.exists() and marker.read_text() == wanted:
        return python
    print(f"bench: making {folder.name} with {' '.join(requirements)}", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{folder.name}: pip could not install {' '.join(requirements)}: {done.stderr[-600:]}")
    marker.write_text(wanted)
    return python

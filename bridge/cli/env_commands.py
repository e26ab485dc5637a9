"""``bridge env``: the environments that plugins run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import typer

from bridge.cli import output
from bridge.cli.options import Debug, JsonOutput
from bridge.cli.problems import printable

__all__ = ["ENV_COMMANDS"]

# typer knows Optional in all the versions we support.
_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PATH", help="A path has a slash; a name stands for a folder in $XDG_DATA_HOME/bridge/envs."
    ),
]
_Python = Annotated[
    str,
    typer.Option(
        metavar="VERSION|PATH",
        help="Its Python, 3.9 or newer, such as 3.11 or /usr/bin/python3.",
        show_default="the one that runs this",
    ),
]
_Requirements = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--requirements", "-r", metavar="FILE", help="What to install; may be given several times."),
]
_Lock = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--lock", metavar="FILE", help="uv.lock of a project, or pylock.toml; needs uv."),
]
_Extra = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(
        metavar="[-- ARGUMENT...]", help="Packages, or further arguments of the installer.", show_default=False
    ),
]
_Installer = Annotated[str, typer.Option(metavar="NAME", help="uv, pip, or auto: uv if it is there.")]


def env_create(
    name: _Name,
    extra: _Extra = None,
    python: _Python = "",
    requirements: _Requirements = None,
    lock: _Lock = None,
    require_hashes: Annotated[
        bool, typer.Option("--require-hashes", help="Install nothing that has no hash in the requirements.")
    ] = False,
    recreate: Annotated[
        bool, typer.Option("--recreate", help="Build it again; the old one stays until the new one is complete.")
    ] = False,
    installer: _Installer = "auto",
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Build a virtual environment for a plugin, and print the line for its manifest.

    The bridge itself is not installed in it. One that was made from the same is left as it is.

    Example: bridge env create ocr --python 3.11 -r requirements.txt

    Example: bridge env create ./env -- --no-index --find-links wheels numpy
    """
    from bridge.plugins.environment import create, environment_path
    from bridge.plugins.installers import Plan, parse_installer
    from bridge.plugins.toml_text import toml_text

    plan = Plan(
        python=python,
        requirements=tuple(map(Path, requirements or ())),
        lock=None if lock is None else Path(lock),
        require_hashes=require_hashes,
        extra=tuple(extra or ()),
        installer=parse_installer(installer),
    )
    made = create(environment_path(name, os.environ), plan, recreate=recreate, tell=_tell)
    if json_output:
        output.show_json({"path": str(made.path), "python_version": made.version, "made": made.made})
        return 0
    _tell(f"{made.path} {'is complete' if made.made else 'is there already'}: Python {made.version}")
    sys.stdout.write(toml_text({"python": str(made.path)}))
    return 0


def _tell(text: str) -> None:
    typer.echo(f"bridge: {printable(text)}", err=True)


ENV_COMMANDS: dict[str, Callable[..., int]] = {"create": env_create}
"""By name, as ``bridge env NAME``."""

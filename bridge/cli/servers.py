"""``bridge serve``, ``bridge host`` and ``bridge stdio`` for typer: help, and all that the quick reading leaves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from bridge.cli.flags import convert, signature
from bridge.cli.serve import HOST_LISTEN, Role, serve
from bridge.cli.stdio import stdio

__all__ = ["command"]

_DOCS = {
    "bridge": "Serve the tools of adapters.",
    "host": "Keep sessions and variables for bridges, and serve the host's own tools.\n\n"
    f"Listens on {HOST_LISTEN} if nothing else is said.",
    "stdio": "Serve the tools of adapters over stdin and stdout, as JSON-RPC.",
}


def command(role: Role | Literal["stdio"]) -> Callable[..., int]:
    """The command with one parameter for each setting."""

    def run(**texts: Any) -> int:
        file = texts.pop("config")
        given = {key: text for key, text in texts.items() if text is not None}
        path = None if file is None else Path(file)
        return stdio(convert(given), path) if role == "stdio" else serve(role, convert(given), path)

    parameters = signature()
    run.__doc__ = _DOCS[role]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run

"""Why a plugin has not come about, where its host shows it.

Hosts in Go log a line of stderr at debug, which hardly anybody sees, unless it begins with a level.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

__all__ = ["ERROR", "show_uncaught", "tell_hosts"]

ERROR = "[ERROR] "
"""Begins a line that hosts shall show as an error (go-plugin's client.go, ``logStderr``)."""


def tell_hosts() -> None:
    """Has an exception that nobody catches, such as that of an import, shown as an error by the host, if one has
    started this process. A hook that somebody else has set stays."""
    if sys.excepthook is sys.__excepthook__ and "PLUGIN_PROTOCOL_VERSIONS" in os.environ:
        sys.excepthook = show_uncaught


def show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line that tells of it, and the traceback as always."""
    if issubclass(kind, Exception):
        told = " ".join(str(error).split())
        sys.stderr.write(f"{ERROR}an exception ended the plugin: {kind.__name__}: {told}\n")
    sys.__excepthook__(kind, error, trace)

"""Worker processes: tools in interpreters of their own, that can be killed.

``from bridge.worker import WorkerProxy`` is for programs that use a plugin without a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.worker.proxy import ProxyStats, WorkerProxy

__all__ = ["ProxyStats", "WorkerProxy"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # most who import from here want no proxy, and that is much to import
        from bridge.worker import proxy

        return getattr(proxy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""plugin.GRPCController: how a host asks a plugin to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridge.engines.base import Method, ServerCall

__all__ = ["controller_methods"]


def controller_methods(shut_down: Callable[[], Awaitable[None]]) -> list[Method]:
    """The methods for an engine. ``shut_down`` is called once for each request, and must not wait for the end: the
    request is still to be answered, and the host hangs up when it is."""

    async def answer(rpc: ServerCall, data: bytes) -> bytes:
        await shut_down()
        return b""  # plugin.Empty

    return [Method("/plugin.GRPCController/Shutdown", unary=answer, public=True)]

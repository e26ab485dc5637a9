"""The host's side of GRPCStdio: what a plugin prints goes where the host wants it."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError

from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code
from bridge.goplugin.host.settings import Sink
from bridge.goplugin.messages import StdioData

__all__ = ["sync_stdio"]

_STREAM_STDIO = "/plugin.GRPCStdio/StreamStdio"


async def sync_stdio(channel: Channel, stdout: Sink | None, stderr: Sink | None, log: logging.Logger) -> None:
    """Takes what a plugin prints, until it has nothing more to say. Also where nobody wants it: a plugin in Go would
    wait to get rid of it.

    A plugin may do without the service. A sink that fails gets nothing more; the log has its failure.
    """
    sinks = {StdioData.STDOUT: stdout, StdioData.STDERR: stderr}
    try:
        async with aclosing(channel.stream(_STREAM_STDIO, b"")) as messages:
            async for message in messages:
                data = StdioData.FromString(message)
                sink = sinks.get(data.channel)
                if sink is not None and not _give(sink, data.data, log):
                    sinks[data.channel] = None
    except BridgeError as error:
        if error.code not in (Code.UNAVAILABLE, Code.UNIMPLEMENTED, Code.CANCELLED):
            log.warning("what the plugin prints cannot be had: %s", error.message)
    except DecodeError:
        log.warning("what the plugin prints cannot be had: it sends something else")


def _give(sink: Sink, data: bytes, log: logging.Logger) -> bool:
    flush: Any = getattr(sink, "flush", None)
    try:
        sink.write(data)
        if flush is not None:
            flush()
    except Exception:
        log.exception("what a plugin has printed could not be written; nothing more of it will be")
        return False
    return True

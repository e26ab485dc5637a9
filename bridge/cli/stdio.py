"""``bridge stdio``: the tools of adapters over the stdin and stdout of this process."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.cli.exit_codes import ExitCode
from bridge.cli.problems import usage_error
from bridge.cli.serve import import_from_current_folder, say_stopping
from bridge.config import ServerConfig, settle
from bridge.foreground import StopSignals, run_in_foreground

__all__ = ["stdio"]

_OF_ADDRESSES = ("listen", "jsonrpc", "idle_timeout", "write_client", "snakepit")
"""Settings of servers that have an address."""

LEFT_GRACE = 1.0
"""Seconds that running tools have when the other side has closed stdin or stdout."""


def stdio(flags: Mapping[str, Any], file: Path | None) -> int:
    """Answers until stdin ends or a signal comes, and returns the exit code.

    Raises ``BridgeError`` if the configuration or an adapter is wrong.
    """
    config = _configure(flags, file)
    from bridge.jsonrpc.stdio import Stdio, connect_stdio

    ours = Stdio.take()
    # Before the current folder goes on the path: nothing that lies there hides a module of ours.
    from bridge.cli.reloading import folders_of, reloading
    from bridge.jsonrpc_parts import ANSWER_TIME, JsonRpcParts
    from bridge.server import run_server
    from bridge.sources import prepare_sources

    import_from_current_folder()
    adapters, plugins = prepare_sources(config)
    folders = folders_of(adapters, (Path(plugin.folder) for plugin in plugins)) if config.reload else []

    async def run(stop: StopSignals) -> bool:
        async with run_server(config, adapters, plugins=plugins, own_process=True, listens=False) as server:
            parts = JsonRpcParts(config, server.parts, stop.request)
            async with reloading(server.reload, folders, stop.request):
                connection = await connect_stdio(parts.connection, ours)
                connection.lost.add_done_callback(lambda _: stop.request())
                gc.freeze()
                gc.enable()
                await stop.wait()
            if not connection.is_open:  # nobody waits for an answer
                return await server.drain(min(config.grace, LEFT_GRACE))
            say_stopping(server.dispatcher.running, config.grace)
            await server.drain()
            await connection.drain(ANSWER_TIME)
            return server.clean

    return run_in_foreground(run, config.grace, unfinished=ExitCode.UNFINISHED)


def _configure(flags: Mapping[str, Any], file: Path | None) -> ServerConfig:
    settled = settle(file, os.environ, flags)
    config = settled.config
    if not config.adapters:
        raise usage_error(
            "no adapter to serve: name one, as in `bridge stdio package.module:Class` or `bridge stdio file.py`"
        )
    for key in _OF_ADDRESSES:
        if settled.provenance[key].kind == "flag":
            problem = f"{settled.provenance[key]} means nothing here: `bridge stdio` listens to stdin only"
            raise usage_error(f"{problem}; leave it out, or use `bridge serve`")
    # A file of settings may be that of `bridge serve`, too.
    return dataclasses.replace(config, snakepit=False, write_client=None)

"""Running a server in the foreground: from flags to a process that listens, drains and ends."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.cli.exit_codes import ExitCode
from bridge.cli.problems import usage_error
from bridge.config import ServerConfig, settle
from bridge.foreground import StopSignals, run_in_foreground, say

if TYPE_CHECKING:
    from bridge.server import Server

__all__ = ["HOST_LISTEN", "Role", "announce", "import_from_current_folder", "say_stopping", "serve", "take_stdout"]

HOST_LISTEN = "127.0.0.1:50052"
"""Where a host listens if nothing says otherwise: beside a bridge with its own default."""

Role = Literal["bridge", "host"]


def serve(role: Role, flags: Mapping[str, Any], file: Path | None) -> int:
    """Serves until a signal comes, and returns the exit code.

    Raises ``BridgeError`` if the configuration, an adapter or an address is wrong.
    """
    config = _configure(role, flags, file)
    stdout = take_stdout()
    # Before the current folder goes on the path: nothing that lies there hides a module of ours.
    from bridge.cli.reloading import folders_of, reloading
    from bridge.server import run_server
    from bridge.sources import prepare_sources

    import_from_current_folder()
    adapters, plugins = prepare_sources(config)
    folders = folders_of(adapters, (Path(plugin.folder) for plugin in plugins)) if config.reload else []

    async def run(stop: StopSignals) -> bool:
        async with run_server(config, adapters, role, plugins=plugins, own_process=True, stop=stop.request) as server:
            async with reloading(server.reload, folders, stop.request):
                announce(stdout, _spoken(server))
                gc.freeze()
                gc.enable()
                await stop.wait()
            say_stopping(server.dispatcher.running, config.grace)
        return server.clean

    return run_in_foreground(run, config.grace, unfinished=ExitCode.UNFINISHED)


def _configure(role: Role, flags: Mapping[str, Any], file: Path | None) -> ServerConfig:
    settled = settle(file, os.environ, flags)
    config = settled.config
    if role == "bridge" and not config.adapters:
        raise usage_error(
            "no adapter to serve: name one, as in `bridge serve package.module:Class` or `bridge serve file.py`; "
            "`bridge new NAME` makes one"
        )
    if role == "host" and config.listen and settled.provenance["listen"].kind == "default":
        config = dataclasses.replace(config, listen=(HOST_LISTEN,))
    if config.snakepit and settled.provenance["sessions"].kind == "default":
        # The BEAM has opened the sessions of its workers, and tells no other host.
        config = dataclasses.replace(config, sessions="auto-open")
    return config


def _spoken(server: Server) -> list[str]:
    """Where the server listens, and what it speaks there if it is not gRPC."""
    jsonrpc = [f"{server.jsonrpc_address} (JSON-RPC)"] if server.jsonrpc_address else []
    return [*server.addresses, *jsonrpc]


def take_stdout() -> int:
    """Keeps stdout for the lines that say where the server listens. What tools print goes to stderr, so a parent that
    reads those lines and no more never blocks or breaks a tool."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return ours


def import_from_current_folder() -> None:
    """Makes adapters in the current folder importable, before those that are installed."""
    try:
        sys.path.insert(0, str(Path.cwd()))
    except FileNotFoundError:
        pass  # the folder was removed; nothing can be imported from it


def announce(stdout: int, addresses: Sequence[str]) -> None:
    """Says that the server is ready, and where: the lines that parents wait for."""
    lines = "".join(f"bridge: serving on {address}\n" for address in addresses)
    try:
        os.write(stdout, lines.encode())
    except OSError:
        pass  # nobody wants to know


def say_stopping(running: int, grace: float) -> None:
    """Tells people that a signal was heard."""
    if running:
        what = "1 call is running and has" if running == 1 else f"{running} calls are running and have"
        say(f"stopping: {what} {grace:g} s to end; Ctrl-C or SIGTERM once more stops at once")
    else:
        say("stopping")

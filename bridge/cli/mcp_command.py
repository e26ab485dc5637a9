"""``bridge mcp``: the tools of adapters as a server of the Model Context Protocol."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeAlias

import typer

from bridge.cli.exit_codes import ExitCode
from bridge.cli.flags import convert, signature
from bridge.cli.problems import usage_error
from bridge.cli.serve import announce, import_from_current_folder, say_stopping, take_stdout
from bridge.config import ServerConfig, settle
from bridge.errors import BridgeError, Code
from bridge.foreground import StopSignals, run_in_foreground
from bridge.listeners import TcpAddress, parse_address

if TYPE_CHECKING:
    from bridge.mcp.server import McpServer

__all__ = ["command"]

_ELSEWHERE = frozenset(
    {
        "listen",
        "engine",
        "framing",
        "idle_timeout",
        "jsonrpc",
        "max_metadata_bytes",
        "ready_file",
        "reflection",
        "snakepit",
        "snakepit_results",
        "snakepit_thread_sensitive",
        "write_client",
    }
)
"""Settings of other frontends."""

_PANEL = "MCP"
MAX_INLINE_BYTES = 1024 * 1024

LEFT_GRACE = 1.5
"""Seconds that running tools have when the client has hung up: a little more than a worker has (``worker_grace``)."""

Transport: TypeAlias = "Callable[[McpServer, StopSignals], AbstractAsyncContextManager[Callable[[], bool]]]"
"""Serves as long as the block runs; gives what says whether there is no client any more."""

# typer reads these annotations at run time and knows Optional in all the versions we support.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "http": (
        Optional[str],  # noqa: UP045
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve Streamable HTTP there, path /mcp, instead of stdin and stdout.",
            rich_help_panel=_PANEL,
        ),
    ),
    "allow_host": (
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--allow-host",
            metavar="NAME[:PORT]",
            help="Name that clients may call the HTTP server by, beside those of this machine; PORT may be *.",
            rich_help_panel=_PANEL,
        ),
    ),
    "session": (
        Optional[str],  # noqa: UP045
        typer.Option(
            "--session",
            metavar="ID",
            help="Session of the host that tools work in; otherwise each client has one of its own.",
            rich_help_panel=_PANEL,
        ),
    ),
    "max_inline_bytes": (
        Optional[int],  # noqa: UP045
        typer.Option(
            "--max-inline-bytes",
            min=0,
            help="Size from which a result is a link to a file; 0: never.",
            rich_help_panel=_PANEL,
            show_default=str(MAX_INLINE_BYTES),
        ),
    ),
}


def command() -> Callable[..., int]:
    """The command with a parameter for each setting that means something to MCP."""

    def run(**texts: Any) -> int:
        file = texts.pop("config")
        own = {name: texts.pop(name) for name in _OPTIONS}
        given = {key: text for key, text in texts.items() if text is not None}
        return _serve(convert(given), None if file is None else Path(file), own)

    parameters = [parameter for parameter in signature() if parameter.name not in _ELSEWHERE]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, option])
        for name, (hint, option) in _OPTIONS.items()
    ]
    run.__doc__ = (
        "Serve the tools of adapters to MCP hosts, over stdin and stdout or HTTP.\n\n"
        "Tools that are plain functions run in worker processes if nothing else is said, so that a cancel stops them."
    )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _serve(flags: Mapping[str, Any], file: Path | None, own: Mapping[str, Any]) -> int:
    config = _configure(flags, file)
    address = None if own["http"] is None else _address(own["http"])
    if find_spec("mcp") is None:
        message = "`bridge mcp` needs the MCP SDK: pip install 'tool-bridge[mcp]'"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA")
    # Stdout is taken before any code of users runs, and all of ours is imported before their folder is on the path.
    transport = _stdio(config) if address is None else _http(config, address, own["allow_host"] or ())
    from bridge.cli.reloading import folders_of, reloading
    from bridge.mcp.serving import McpOptions, mcp_server
    from bridge.server import run_server
    from bridge.sources import load_sources

    limit = own["max_inline_bytes"]
    options = McpOptions(own["session"] or "", MAX_INLINE_BYTES if limit is None else limit, address is None)
    for name in ("mcp", "uvicorn"):  # they tell a lot at the level of ours
        logging.getLogger(name).setLevel(logging.WARNING)
    import_from_current_folder()
    adapters, plugins = load_sources(config.adapters)
    folders = folders_of(adapters, (Path(plugin.folder) for plugin in plugins)) if config.reload else []

    async def run(stop: StopSignals) -> bool:
        async with (
            run_server(config, adapters, plugins=plugins, own_process=True, listens=False) as server,
            reloading(server.reload, folders, stop.request),
        ):
            with mcp_server(server, options) as mcp:
                async with transport(mcp, stop) as is_gone:
                    gc.freeze()
                    await stop.wait()
                    if is_gone():
                        return await server.drain(min(config.grace, LEFT_GRACE))
                    say_stopping(server.dispatcher.running, config.grace)
                    return await server.drain()

    return run_in_foreground(run, config.grace, unfinished=ExitCode.UNFINISHED)


def _configure(flags: Mapping[str, Any], file: Path | None) -> ServerConfig:
    settled = settle(file, os.environ, flags)
    config = settled.config
    if not config.adapters:
        raise usage_error(
            "no adapter to serve: name one, as in `bridge mcp package.module:Class` or `bridge mcp file.py`"
        )
    changes: dict[str, Any] = {"ready_file": None, "snakepit": False, "write_client": None}
    if settled.provenance["isolation"].kind == "default":
        changes["isolation"] = "plain-process"
    if config.audit == "auto" and config.tokens is not None:
        changes["audit"] = "on"
    return dataclasses.replace(config, **changes)


def _address(text: str) -> TcpAddress:
    address = parse_address(text)
    if not isinstance(address, TcpAddress):
        raise usage_error("--http takes HOST:PORT, such as 127.0.0.1:8808")
    return address


def _stdio(config: ServerConfig) -> Transport:
    from bridge.jsonrpc.stdio import Stdio

    stdio = Stdio.take()
    from bridge.mcp.stdio import serving_stdio

    def serve(mcp: McpServer, stop: StopSignals) -> AbstractAsyncContextManager[Callable[[], bool]]:
        return serving_stdio(mcp, stdio, config.max_message_bytes, stop.request)

    return serve


def _http(config: ServerConfig, address: TcpAddress, allowed_hosts: Sequence[str]) -> Transport:
    stdout = take_stdout()
    from bridge.mcp.http import listening

    @asynccontextmanager
    async def serve(mcp: McpServer, stop: StopSignals) -> AsyncIterator[Callable[[], bool]]:
        async with listening(mcp, config, address, allowed_hosts) as url:
            announce(stdout, [url])
            yield lambda: False  # clients come and go

    return serve

"""What every command that calls a server has in common: its options, and the connection they describe."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_type_hints

import msgspec
import typer

if TYPE_CHECKING:
    from bridge.host import CallScope
    from bridge.hosts.grpc import GrpcHost
    from bridge_client import BridgeClient, ClientConfig

__all__ = [
    "DEFAULT_TARGET",
    "ClientOptions",
    "Debug",
    "JsonOutput",
    "client_config",
    "connect",
    "connect_host",
    "with_options",
]

DEFAULT_TARGET = "127.0.0.1:50051"

_PANEL = "Server to call"

JsonOutput = Annotated[bool, typer.Option("--json-output", help="One JSON document on stdout, errors too.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]


# typer reads these annotations at run time and knows Optional in all the versions we support.
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The options; each field is one."""

    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="ADDRESS",
            help="Address of the server: host:port or unix:/path.",
            rich_help_panel=_PANEL,
            show_default=f"$BRIDGE_TARGET, that of the client config, or {DEFAULT_TARGET}",
        ),
    ] = None
    client_config: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="client.json with address, authority and token file, as `bridge serve --write-client` writes it.",
            rich_help_panel=_PANEL,
            show_default="$BRIDGE_CLIENT_CONFIG",
        ),
    ] = None
    token_file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="File that holds the bearer token.", rich_help_panel=_PANEL),
    ] = None
    ca: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Authority of the server's certificate (PEM): TLS.", rich_help_panel=_PANEL),
    ] = None
    timeout: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            metavar="SECONDS",
            help="Seconds for the whole call, retries included.",
            rich_help_panel=_PANEL,
            show_default="as long as the server allows",
        ),
    ] = None
    session: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="ID",
            envvar="BRIDGE_SESSION",
            help="Id of the session; `bridge session open` gives one.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    json_output: JsonOutput = False
    debug: Debug = False


def with_options(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a command the fields of its last parameter, which is called ``options``, as parameters of its own."""
    # The function's annotations are text there and values here, which is what typer looks for in a signature.
    hints = get_type_hints(command, include_extras=True)
    kind = hints["options"]
    fields = _fields(kind)

    @functools.wraps(command)
    def run(**values: Any) -> int:
        own = {name: value for name, value in values.items() if name not in fields}
        shared = {name: value for name, value in values.items() if name in fields}
        return command(**own, options=kind(**shared))

    parameters = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != "options"
    ]
    parameters += [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=fields[field.name]
        )
        for field in dataclasses.fields(kind)
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    """Annotations of the options. They are the same for every command, and slow to evaluate."""
    return get_type_hints(kind, include_extras=True)


def client_config(options: ClientOptions) -> ClientConfig:
    """The server to call. An option wins over the client config, a file named by an option over the environment.

    Raises ``BridgeError`` INVALID_ARGUMENT, for files that cannot be used.
    """
    from bridge.credentials import FileToken  # gRPC comes with these
    from bridge_client import ClientConfig

    file = options.client_config or os.environ.get("BRIDGE_CLIENT_CONFIG")
    config = ClientConfig.load(file) if file else ClientConfig(DEFAULT_TARGET)
    changes: dict[str, Any] = {}
    if options.target:
        changes["target"] = options.target
    elif not options.client_config and (target := os.environ.get("BRIDGE_TARGET")):
        changes["target"] = target
    if options.token_file:
        changes["token_file"] = Path(options.token_file)
    if options.ca:
        changes["ca"] = Path(options.ca)
    config = msgspec.structs.replace(config, **changes)
    if config.token_file is not None:
        FileToken(config.token_file)()  # read here once, where what is wrong with it is wrong usage
    return config


@asynccontextmanager
async def connect(options: ClientOptions) -> AsyncIterator[BridgeClient]:
    """A client for the server that the options describe. Raises ``BridgeError`` INVALID_ARGUMENT if they are wrong."""
    from bridge_client import BridgeClient

    config = client_config(options)
    # A command is a process of its own: a circuit breaker would forget what it learns.
    async with BridgeClient.from_config(config, timeout=options.timeout, breaker=None, tracing=False) as client:
        yield client


@asynccontextmanager
async def connect_host(options: ClientOptions, session_id: str = "") -> AsyncIterator[tuple[GrpcHost, CallScope]]:
    """The host that the options describe, and with what to ask it. For what a client does not do: a client closes the
    sessions it has opened. Raises ``BridgeError`` INVALID_ARGUMENT if the options are wrong."""
    from bridge import engines
    from bridge.credentials import AuthorizedChannel
    from bridge.engines.base import Channel, ChannelOptions
    from bridge.host import CallScope
    from bridge.hosts.grpc import GrpcHost

    config = client_config(options)
    channel: Channel = engines.connect(config.target, ChannelOptions(tls=config.tls()))
    if config.token_file is not None:
        channel = AuthorizedChannel(channel, config.token_file)
    host = GrpcHost(channel)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    try:
        yield host, CallScope(session_id, deadline)
    finally:
        await host.aclose()

"""``bridge tools`` and ``bridge health``: what a server offers, and whether it takes calls."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Optional

import msgspec
import typer

from bridge.cli import output
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import ClientOptions, client_config, connect, with_options
from bridge.cli.problems import CallFailed, answered, printable, usage_error
from bridge.errors import BridgeError, Code
from bridge.runtime.hints import suggest

if TYPE_CHECKING:
    from bridge_client import ToolInfo

__all__ = ["health", "tools"]

HEALTH_TIMEOUT = 5.0
"""Seconds to wait for an answer if ``--timeout`` does not say."""

_Name = Annotated[Optional[str], typer.Argument(metavar="NAME", help="Show this tool only, with its schema.")]  # noqa: UP045
_Service = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE",
        help="Name of a gRPC service; without it the server as a whole. An address here is the same as --target.",
        show_default=False,
    ),
]


@with_options
def tools(options: ClientOptions, name: _Name = None) -> int:
    """List the tools of a server, or describe one."""
    found = asyncio.run(_tools(options))
    if name is None:
        if options.json_output:
            output.show_json([_describe(info) for info in found])
        else:
            _show_all(found)
        return ExitCode.OK
    info = next((info for info in found if info.name == name), None)
    if info is None:
        raise CallFailed(_not_found(name, [info.name for info in found]))
    if options.json_output:
        output.show_json(_describe(info))
    else:
        _show_one(info)
    return ExitCode.OK


async def _tools(options: ClientOptions) -> list[ToolInfo]:
    async with connect(options) as client:
        with answered():
            return await client.tools()


def _not_found(name: str, names: list[str]) -> BridgeError:
    return BridgeError(Code.NOT_FOUND, f"no tool {name!r}; {suggest(name, names)}", reason="TOOL_NOT_FOUND")


def _describe(info: ToolInfo) -> dict[str, Any]:
    from bridge.call import NO_VALUE

    document = msgspec.structs.asdict(info)
    document["parameters"] = [
        {key: value for key, value in msgspec.structs.asdict(parameter).items() if value is not NO_VALUE}
        for parameter in info.parameters
    ]
    return document


def _show_all(found: list[ToolInfo]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("Tool", "Parameters", "What it does", title_justify="left")
    for info in found:
        name = info.name + (" (streams)" if info.streaming else "")
        table.add_row(
            *(Text(printable(text)) for text in (name, _signature(info), info.description.partition("\n")[0]))
        )
    output.print_rich(table if found else "This server has no tools.")


def _signature(info: ToolInfo) -> str:
    return ", ".join(p.name if p.required else f"[{p.name}]" for p in info.parameters)


def _show_one(info: ToolInfo) -> None:
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    facts = [word for word in ("streaming", "collects", "idempotent", "read_only") if getattr(info, word)]
    facts += [f"runs {info.isolation}"] if info.isolation else []
    facts += [f"at most {info.timeout:g} s"] if info.timeout is not None else []
    output.print_rich(
        Text(printable(info.name), style="bold"), Text(printable(info.description)), Text(", ".join(facts))
    )
    if info.parameters:
        table = Table("Parameter", "Type", "Default", "Meaning")
        for parameter in info.parameters:
            default = "required" if parameter.required else output.summary(parameter.default)
            cells = (parameter.name, parameter.type, default, parameter.description)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        output.print_rich(table)
    for title, schema in (("arguments", info.input_schema), ("result", info.output_schema)):
        if schema:
            text = output.document(schema)
            output.print_rich(
                f"JSON Schema of the {title}:", Syntax(text, "json", background_color="default", word_wrap=True)
            )


@with_options
def health(options: ClientOptions, service: _Service = "") -> int:
    """Ask whether a server takes calls; exit code 0 if it does."""
    if ":" in service:  # no service has a colon in its name, and every address has one
        if options.target is not None:
            raise usage_error(f"two addresses, {service[:100]!r} and --target; leave one of them out")
        options, service = dataclasses.replace(options, target=service), ""
    status = asyncio.run(_health(service, options))
    if options.json_output:
        output.show_json({"service": service, "status": status})
    else:
        typer.echo(status)
    return ExitCode.OK if status == "SERVING" else ExitCode.FAILED


async def _health(service: str, options: ClientOptions) -> str:
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

    from bridge import engines
    from bridge.engines.base import ChannelOptions

    config = client_config(options)
    channel = engines.connect(config.target, ChannelOptions(tls=config.tls()))
    request = HealthCheckRequest(service=service).SerializeToString()
    timeout = HEALTH_TIMEOUT if options.timeout is None else options.timeout
    try:
        with answered():
            answer = await channel.unary("/grpc.health.v1.Health/Check", request, timeout=timeout)
    finally:
        await channel.aclose()
    status: str = HealthCheckResponse.ServingStatus.Name(HealthCheckResponse.FromString(answer).status)
    return status

"""``bridge call`` and ``bridge stream``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bridge.cli import output
from bridge.cli.arguments import json_arguments, parse_assignment, resolve
from bridge.cli.options import ClientOptions, connect, with_options
from bridge.cli.problems import answered

if TYPE_CHECKING:
    from bridge_client import BridgeClient

__all__ = ["call", "stream"]

Tool = Annotated[str, typer.Argument(metavar="TOOL", help="Name of the tool; `bridge tools` lists them.")]
Written = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Argument(
        metavar="NAME=VALUE",
        help="Arguments: name=value, name:=JSON, name=@file. Text stays text where the tool takes text; "
        "elsewhere it is read as JSON if it is JSON.",
        show_default=False,
    ),
]
Json = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--json", metavar="JSON", help="Arguments as one JSON object; - reads it from stdin."),
]


@with_options
def call(tool: Tool, options: ClientOptions, arguments: Written = None, json: Json = None) -> int:
    """Call a tool and show its result."""
    value = asyncio.run(_call(tool, arguments or [], json, options))
    (output.show_json if options.json_output else output.show)(value)
    return 0


async def _call(tool: str, written: Sequence[str], json: str | None, options: ClientOptions) -> Any:
    async with connect(options) as client:
        values = await _arguments(client, tool, written, json)
        with answered():
            return await client.call(tool, values, session=options.session)


@with_options
def stream(tool: Tool, options: ClientOptions, arguments: Written = None, json: Json = None) -> int:
    """Call a tool and show each value as it comes."""
    asyncio.run(_stream(tool, arguments or [], json, options))
    return 0


async def _stream(tool: str, written: Sequence[str], json: str | None, options: ClientOptions) -> None:
    from bridge.cli.progress import Screen

    async with connect(options) as client:
        values = await _arguments(client, tool, written, json)
        with Screen(quiet=options.json_output) as screen, answered():
            async with client.stream(tool, values, session=options.session, on_progress=screen.advance) as chunks:
                async for value in chunks:
                    with screen.paused():
                        (output.show_json if options.json_output else output.show)(value)


async def _arguments(client: BridgeClient, tool: str, written: Sequence[str], json: str | None) -> dict[str, Any]:
    """The values of the arguments. The server is asked for their types only if what was written leaves a choice."""
    base = {} if json is None else json_arguments(json)
    assignments = [parse_assignment(text) for text in written]
    schemas = {}
    if any(not assignment.is_json for assignment in assignments):
        with answered():
            tools = await client.tools()
        schemas = {
            parameter.name: parameter.schema for info in tools if info.name == tool for parameter in info.parameters
        }
    return resolve(assignments, base, schemas)

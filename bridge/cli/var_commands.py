"""``bridge var``: variables of a session. ``register`` and ``watch`` have files of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bridge.cli import output
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import ClientOptions, with_options
from bridge.cli.problems import CallFailed, answered, error_document, printable
from bridge.cli.register_command import var_register
from bridge.cli.var_options import (
    Metadata,
    Name,
    Names,
    Ttl,
    Written,
    expected_versions,
    known_types,
    parse_values,
    resolve_values,
    session,
)
from bridge.cli.variable_forms import (
    parse_metadata,
    table,
    update_document,
    update_row,
    variable_document,
    variable_row,
)
from bridge.cli.watch_command import var_watch
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.variables import Update, Variable, WriteResult

__all__ = ["VAR_COMMANDS"]

_Json = Annotated[
    Optional[str],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Option("--json", metavar="JSON", help="Values by name as one JSON object; - reads it from stdin."),
]
_Expect = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        metavar="VERSION",
        help="Write only if this is the current version, 0: only if there is none. NAME=VERSION for one of several.",
    ),
]
_ExpectOne = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="VERSION", help="Do it only if this is the current version."),
]
_Atomic = Annotated[bool, typer.Option("--atomic/--no-atomic", help="All or nothing, or each for itself.")]
_Pattern = Annotated[
    str, typer.Argument(metavar="PATTERN", help="* stands for any characters, ? for one.", show_default="all")
]
_Version = Annotated[int, typer.Argument(metavar="VERSION", help="The version whose value is wanted.")]
_Limit = Annotated[int, typer.Option(metavar="N", help="Most changes to show; 0: all that are kept.")]


@with_options
def var_get(names: Names, options: ClientOptions) -> int:
    """Show the value of a variable, or the values of several as one object.

    Example: bridge var get temperature
    """
    values = asyncio.run(_get(names, options))
    value = values[names[0]] if len(names) == 1 else values
    (output.show_json if options.json_output else output.show)(value)
    return ExitCode.OK


async def _get(names: list[str], options: ClientOptions) -> dict[str, Any]:
    from bridge.variables import variable_not_found

    async with session(options) as variables:
        with answered():
            found = await variables.get_many(names)
    for name in names:
        if name not in found:
            raise CallFailed(variable_not_found(name))
    return {name: found[name] for name in names}


@with_options
def var_set(
    options: ClientOptions,
    written: Written = None,
    json: _Json = None,
    expect: _Expect = None,
    ttl: Ttl = None,
    metadata: Metadata = None,
    atomic: _Atomic = True,
) -> int:
    """Write one variable or several, and show their new versions. An unknown name gets the type of its value.

    Example: bridge var set temperature 0.7 --expect 3
    """
    assignments, base = parse_values(written, json)
    versions = expected_versions(expect, [*base, *(assignment.name for assignment in assignments)])
    kept = parse_metadata(metadata)

    async def write() -> dict[str, WriteResult]:
        async with session(options) as variables:
            values = resolve_values(assignments, base, await known_types(variables, assignments))
            with answered():
                results = await variables.set_many(
                    values, atomic=atomic, expected_versions=versions, metadata=kept, ttl=ttl
                )
        return {name: results[name] for name in values}

    return _show_results(asyncio.run(write()), options)


def _show_results(results: dict[str, WriteResult], options: ClientOptions) -> int:
    versions = {name: result for name, result in results.items() if isinstance(result, int)}
    failures = {name: result for name, result in results.items() if isinstance(result, BridgeError)}
    if options.json_output:
        refused = {name: error_document(error)["error"] for name, error in failures.items()}
        output.show_json({"versions": versions, "failures": refused})
    else:
        for name, version in versions.items():
            typer.echo(f"{name}: version {version}")
        for name, error in failures.items():
            typer.echo(f"bridge: {name} is as it was: {error.code.name}: {printable(error.message)}", err=True)
    return ExitCode.FAILED if failures else ExitCode.OK


@with_options
def var_ls(options: ClientOptions, pattern: _Pattern = "") -> int:
    """List variables with type, version, value and constraints.

    Example: bridge var ls 'model.*'
    """
    found = asyncio.run(_list(pattern, options))
    heads = ("Variable", "Type", "Version", "Value", "Constraints", "Changed by", "Ends")
    if options.json_output:
        output.show_json([variable_document(variable) for variable in found])
    elif found:
        output.print_rich(table(heads, map(variable_row, found)))
    else:
        typer.echo("The session has no variable of such a name." if pattern else "The session has no variables.")
    return ExitCode.OK


async def _list(pattern: str, options: ClientOptions) -> list[Variable]:
    async with session(options) as variables:
        with answered():
            return await variables.list(pattern)


@with_options
def var_rm(name: Name, options: ClientOptions, expect: _ExpectOne = None) -> int:
    """Delete a variable. Its history stays as long as there is room, and `rollback` brings it back.

    Example: bridge var rm temperature
    """

    async def delete() -> None:
        async with session(options) as variables:
            with answered():
                await variables.delete(name, expect)

    asyncio.run(delete())
    if options.json_output:
        output.show_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")
    return ExitCode.OK


@with_options
def var_history(name: Name, options: ClientOptions, limit: _Limit = 0) -> int:
    """Show the changes of a variable that are still kept, newest first.

    Example: bridge var history temperature --limit 5
    """
    found = asyncio.run(_history(name, limit, options))
    if options.json_output:
        output.show_json([update_document(update) for update in found])
    else:
        output.print_rich(table(("Version", "When", "Value", "Changed by"), map(update_row, found)))
    return ExitCode.OK


async def _history(name: str, limit: int, options: ClientOptions) -> list[Update]:
    async with session(options) as variables:
        with answered():
            return await variables.history(name, limit)


@with_options
def var_rollback(name: Name, version: _Version, options: ClientOptions, expect: _ExpectOne = None) -> int:
    """Write the value of an earlier version again, as a new version.

    Example: bridge var rollback temperature 3
    """
    variable = asyncio.run(_rollback(name, version, expect, options))
    if options.json_output:
        output.show_json(variable_document(variable))
    else:
        typer.echo(f"{name}: version {variable.version}, with the value of version {version}")
    return ExitCode.OK


async def _rollback(name: str, version: int, expect: int | None, options: ClientOptions) -> Variable:
    async with session(options) as variables:
        with answered():
            return await variables.rollback(name, version, expect)


VAR_COMMANDS = {
    "get": var_get,
    "set": var_set,
    "ls": var_ls,
    "watch": var_watch,
    "history": var_history,
    "rollback": var_rollback,
    "rm": var_rm,
    "register": var_register,
}
"""By name, as ``bridge var NAME``."""

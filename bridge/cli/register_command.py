"""``bridge var register``: a variable with a type and constraints."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bridge.cli import output
from bridge.cli.options import ClientOptions, with_options
from bridge.cli.problems import answered, usage_error
from bridge.cli.var_options import Metadata, Ttl, Written, number, parse_values, resolve_values, session
from bridge.cli.variable_forms import constraints_text, parse_metadata, variable_document

if TYPE_CHECKING:
    from bridge.variables import Constraints, Variable

__all__ = ["var_register"]

_PANEL = "Constraints"
_Type = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help="integer, float, string, boolean, choice, json, embedding, tensor or bytes.",
        show_default="that of the value",
    ),
]
# typer knows Optional in all the versions we support.
_Number = Optional[str]  # noqa: UP045
_Count = Optional[int]  # noqa: UP045
_Min = Annotated[_Number, typer.Option("--min", metavar="NUMBER", help="Smallest value.", rich_help_panel=_PANEL)]
_Max = Annotated[_Number, typer.Option("--max", metavar="NUMBER", help="Largest value.", rich_help_panel=_PANEL)]
_MinLength = Annotated[
    _Count, typer.Option(metavar="N", help="Fewest characters of a string, or bytes.", rich_help_panel=_PANEL)
]
_MaxLength = Annotated[
    _Count, typer.Option(metavar="N", help="Most characters of a string, or bytes.", rich_help_panel=_PANEL)
]
_Pattern = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="REGEX",
        help="Regular expression in the syntax of RE2 that the whole string matches.",
        rich_help_panel=_PANEL,
    ),
]
_Choices = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--choice", metavar="TEXT", help="A string that is allowed; may be given several times.", rich_help_panel=_PANEL
    ),
]
_Dimensions = Annotated[_Count, typer.Option(metavar="N", help="Length of an embedding.", rich_help_panel=_PANEL)]
_Shape = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="N,N,...", help="Length of each dimension of a tensor, -1 for any.", rich_help_panel=_PANEL),
]


@with_options
def var_register(
    options: ClientOptions,
    written: Written = None,
    type: _Type = "",
    min: _Min = None,
    max: _Max = None,
    min_length: _MinLength = None,
    max_length: _MaxLength = None,
    pattern: _Pattern = None,
    choice: _Choices = None,
    dimensions: _Dimensions = None,
    shape: _Shape = None,
    ttl: Ttl = None,
    metadata: Metadata = None,
) -> int:
    """Declare a variable: its value, its type, and what every value must satisfy. One that exists is declared anew.

    Example: bridge var register temperature 0.7 --type float --min 0 --max 2
    """
    name, value = _value(written, type)
    constraints = _constraints(
        min=_bound("--min", min),
        max=_bound("--max", max),
        min_length=min_length,
        max_length=max_length,
        pattern=pattern,
        choices=tuple(choice) if choice else None,
        dimensions=dimensions,
        shape=None if shape is None else tuple(number("--shape", part, int) for part in shape.split(",")),
    )
    kept = parse_metadata(metadata)

    async def register() -> Variable:
        from bridge.variable_types import infer_type

        async with session(options) as variables:
            with answered():
                return await variables.register(
                    name, type or infer_type(value), value, constraints, metadata=kept, ttl=ttl
                )

    _show(asyncio.run(register()), options)
    return 0


def _value(written: Sequence[str] | None, type_: str) -> tuple[str, Any]:
    assignments, _ = parse_values(written)
    if len(assignments) > 1:
        raise usage_error("one variable is declared at a time: write NAME VALUE or NAME=VALUE once")
    name = assignments[0].name
    return name, resolve_values(assignments, {}, {name: type_})[name]


def _bound(flag: str, text: str | None) -> int | float | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return number(flag, text, float)


def _constraints(**given: Any) -> Constraints:
    from bridge.variables import Constraints

    return Constraints(**{name: value for name, value in given.items() if value is not None})


def _show(variable: Variable, options: ClientOptions) -> None:
    if options.json_output:
        output.show_json(variable_document(variable))
        return
    declared = ", ".join(filter(None, [variable.type, constraints_text(variable.constraints)]))
    typer.echo(f"{variable.name}: version {variable.version}, {declared}")

"""What the commands of ``bridge var`` have in common: the session, and how values and versions are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

import typer

from bridge.cli.arguments import Assignment, json_arguments, parse_assignment, resolve
from bridge.cli.options import ClientOptions, connect
from bridge.cli.problems import answered, usage_error
from bridge.cli.session_commands import session_id
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge_client import Session

__all__ = [
    "Metadata",
    "Name",
    "Names",
    "Ttl",
    "Written",
    "expected_versions",
    "known_types",
    "named_versions",
    "number",
    "parse_values",
    "resolve_values",
    "session",
]

T = TypeVar("T")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the variable.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of variables.")]
Written = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Argument(
        metavar="NAME=VALUE",
        help="What to write; for one variable also NAME VALUE. A value is JSON if it can be, otherwise text, and text "
        "where the variable holds text. NAME:=JSON is JSON whatever it holds, NAME=@FILE the content of a file.",
        show_default=False,
    ),
]
Ttl = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="SECONDS", help="How long it lives from now.", show_default="as before, or as the session"),
]
Metadata = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="KEY=VALUE", help="Free text to keep with it; may be given several times."),
]

_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "integer": {"type": "integer"},
    "float": {"type": "number"},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "choice": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "tensor": {"title": "Tensor"},
}
"""JSON Schema of what a variable of each type takes, where that says how text is to be read."""


@asynccontextmanager
async def session(options: ClientOptions) -> AsyncIterator[Session]:
    """The session that the options name."""
    named = session_id(options)
    async with connect(options) as client:
        attached = client.session(session_id=named)
        with answered():
            await attached.__aenter__()
        yield attached


def parse_values(written: Sequence[str] | None, json: str | None = None) -> tuple[list[Assignment], dict[str, Any]]:
    """Takes ``NAME VALUE`` or ``NAME=VALUE ...`` apart, and what ``--json`` gives. Raises wrong usage."""
    written = written or []
    base = {} if json is None else json_arguments(json)
    if len(written) == 2 and "=" not in written[0]:
        return [Assignment(written[0], written[1])], base
    if len(written) == 1 and "=" not in written[0]:
        raise usage_error(f"which value? Write `{written[0][:100]} VALUE` or `{written[0][:100]}=VALUE`")
    if not written and not base:
        raise usage_error("which variable, and which value? Write NAME VALUE or NAME=VALUE; --help has an example")
    return [parse_assignment(text) for text in written], base


def resolve_values(
    assignments: Sequence[Assignment], base: Mapping[str, Any], types: Mapping[str, str]
) -> dict[str, Any]:
    """The values by name.

    Args:
        assignments: what was written.
        base: what ``--json`` gave.
        types: by name, the type of the variable, as far as that is known.

    Raises wrong usage.
    """
    return resolve(assignments, base, {name: _SCHEMAS.get(type_, {}) for name, type_ in types.items()})


async def known_types(session: Session, assignments: Iterable[Assignment]) -> dict[str, str]:
    """The types of the variables whose value can be read in two ways: ``5`` is text where the variable is a string."""

    async def ask(name: str) -> str:
        try:
            return (await session.get_variable(name)).type
        except BridgeError as error:
            if error.reason == "VARIABLE_NOT_FOUND":
                return ""
            raise

    names = [assignment.name for assignment in assignments if not assignment.is_json]
    with answered():
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))


def named_versions(flag: str, written: Iterable[str] | None) -> dict[str, int]:
    """What ``NAME=VERSION`` gives. Raises wrong usage."""
    versions: dict[str, int] = {}
    for text in written or ():
        name, equals, version = text.rpartition("=")
        if not equals or not name:
            raise usage_error(f"{flag}: {text[:100]!r} is not NAME=VERSION")
        versions[name] = number(flag, version, int)
    return versions


def expected_versions(written: Sequence[str] | None, names: Sequence[str]) -> dict[str, int] | None:
    """What ``--expect`` gives: ``VERSION`` where one variable is written, ``NAME=VERSION`` where there are several.
    Raises wrong usage."""
    if not written:
        return None
    if len(names) == len(written) == 1 and "=" not in written[0]:
        return {names[0]: number("--expect", written[0], int)}
    versions = named_versions("--expect", written)
    if strange := next((name for name in versions if name not in names), None):
        raise usage_error(f"--expect: {strange[:100]!r} is not among what is written")
    return versions


def number(flag: str, text: str, read: Callable[[str], T]) -> T:
    """A number that an option gives. Raises wrong usage."""
    try:
        return read(text)
    except ValueError:
        raise usage_error(f"{flag}: {text[:100]!r} is no number") from None

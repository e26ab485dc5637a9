"""``bridge session``: sessions of a host, opened and closed by hand or by scripts."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Optional

import msgspec
import typer

from bridge.cli import output
from bridge.cli.options import ClientOptions, connect_host, with_options
from bridge.cli.problems import answered, usage_error
from bridge.cli.variable_forms import moment, pairs, parse_metadata, session_row, table

if TYPE_CHECKING:
    from bridge.variables import SessionInfo

__all__ = ["SESSION_COMMANDS", "session_id"]

_Id = Annotated[
    Optional[str],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Argument(metavar="ID", help="The session; without it that of --session.", show_default=False),
]
_Limit = Annotated[int, typer.Option(metavar="N", help="Most sessions to list; 0: as many as the host is willing to.")]
_Ttl = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="SECONDS", help="How long it lives without use.", show_default="as the host says, usually an hour"
    ),
]
_Metadata = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="KEY=VALUE", help="Free text to keep with it; may be given several times."),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the id and nothing else, on a terminal too.")]


def session_id(options: ClientOptions, named: str | None = None) -> str:
    """The session to work in: the one that is named, else that of --session. Raises wrong usage if there is none."""
    # An empty name is a script's variable that was never set: it must not mean the session of the environment.
    found = options.session if named is None else named
    if not found:
        raise usage_error(
            "which session? Name it with --session ID or in BRIDGE_SESSION; `bridge session open` opens one, "
            "`bridge session ls` lists yours"
        )
    return found


@with_options
def session_ls(options: ClientOptions, limit: _Limit = 0) -> int:
    """List your sessions, newest first.

    Example: bridge session ls --limit 10
    """
    found = asyncio.run(_list(limit, options))
    if options.json_output:
        output.show_json([msgspec.structs.asdict(session) for session in found])
    elif found:
        output.print_rich(table(("Session", "Opened", "Ends", "Variables", "Metadata"), map(session_row, found)))
    else:
        typer.echo("You have no open session here; `bridge session open` opens one.")
    return 0


async def _list(limit: int, options: ClientOptions) -> list[SessionInfo]:
    async with connect_host(options) as (host, scope):
        with answered():
            return await host.list_sessions(scope, limit)


@with_options
def session_open(options: ClientOptions, ttl: _Ttl = None, metadata: _Metadata = None, quiet: _Quiet = False) -> int:
    """Open a session and print its id.

    It lives until it is closed, or until nothing has used it for its time to live.

    Example: export BRIDGE_SESSION=$(bridge session open --ttl 600)
    """
    session = asyncio.run(_open(parse_metadata(metadata), ttl, options))
    if options.json_output:
        output.show_json(msgspec.structs.asdict(session))
        return 0
    typer.echo(session.session_id)
    if sys.stdout.isatty() and not quiet:
        typer.echo(
            f"It ends when nothing has used it for {session.ttl:g} s.\n\n"
            f"next:\n  export BRIDGE_SESSION={session.session_id}\n  bridge var set NAME VALUE"
        )
    return 0


async def _open(metadata: dict[str, str], ttl: float | None, options: ClientOptions) -> SessionInfo:
    async with connect_host(options) as (host, scope):
        with answered():
            return await host.open_session(scope, metadata=metadata, ttl=ttl)


@with_options
def session_close(options: ClientOptions, id: _Id = None) -> int:
    """Close a session: its variables are gone, and whoever watches them is told.

    Example: bridge session close $BRIDGE_SESSION
    """
    closed = asyncio.run(_close(session_id(options, id), options))
    if options.json_output:
        output.show_json({"closed": closed})
    else:
        typer.echo(f"closed {closed}")
    return 0


async def _close(id: str, options: ClientOptions) -> str:
    async with connect_host(options, id) as (host, scope):
        with answered():
            await host.close_session(scope)
    return id


@with_options
def session_show(options: ClientOptions, id: _Id = None) -> int:
    """Describe a session. Asking is a use: its time to live begins anew.

    Example: bridge session show $BRIDGE_SESSION
    """
    session = asyncio.run(_get(session_id(options, id), options))
    if options.json_output:
        output.show_json(msgspec.structs.asdict(session))
        return 0
    rows = [
        ("session", session.session_id),
        ("opened", moment(session.created_at)),
        ("ends", f"{moment(session.expires_at)}, {session.ttl:g} s after its last use"),
        ("variables", str(session.variable_count)),
        ("metadata", pairs(session.metadata) or "none"),
    ]
    output.print_rich(table(("Fact", "Value"), rows))
    return 0


async def _get(id: str, options: ClientOptions) -> SessionInfo:
    async with connect_host(options, id) as (host, scope):
        with answered():
            return await host.get_session(scope)


SESSION_COMMANDS = {"ls": session_ls, "open": session_open, "close": session_close, "show": session_show}
"""By name, as ``bridge session NAME``."""

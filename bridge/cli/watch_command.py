"""``bridge var watch``: changes of variables on the screen as they are committed."""

from __future__ import annotations

import asyncio
import random
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bridge.cli import output
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import ClientOptions, with_options
from bridge.cli.problems import CallFailed, printable, usage_error
from bridge.cli.var_options import Names, named_versions, session
from bridge.cli.variable_forms import update_document, update_line
from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from bridge.variables import Update
    from bridge_client import Session

__all__ = ["var_watch"]

_Initial = Annotated[bool, typer.Option("--initial/--no-initial", help="Begin with the values there are.")]
_Resume = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Option(metavar="NAME=VERSION", help="Begin with what came after this version; may be given several times."),
]
_Count = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=1, help="Stop after so many lines.", show_default="never"),
]
_Reconnect = Annotated[bool, typer.Option("--reconnect/--no-reconnect", help="Go on when the host is back.")]


@with_options
def var_watch(
    names: Names,
    options: ClientOptions,
    initial: _Initial = True,
    resume: _Resume = None,
    count: _Count = None,
    reconnect: _Reconnect = True,
) -> int:
    """Show every change of variables as it comes, a line each, until Ctrl-C. They need not exist yet.

    When the host goes away it says so, waits until it is back and goes on where it was, so that no change is left out.

    Example: bridge var watch temperature model --json-output
    """
    names = list(dict.fromkeys(names))
    positions = named_versions("--resume", resume)
    if strange := next((name for name in positions if name not in names), None):
        raise usage_error(f"--resume: {strange[:100]!r} is not among the names")
    follower = _Follower(names, positions, options, initial=initial, count=count, reconnect=reconnect)
    try:
        asyncio.run(follower.run())
    except KeyboardInterrupt:
        follower.say_where_to_resume()
    return ExitCode.OK


class _Follower:
    """Follows variables through interruptions."""

    def __init__(
        self,
        names: Sequence[str],
        positions: dict[str, int],
        options: ClientOptions,
        *,
        initial: bool,
        count: int | None,
        reconnect: bool,
    ) -> None:
        self._names = names
        self._positions = positions
        self._options = options
        self._initial = initial
        self._left = count
        self._reconnect = reconnect
        self._has_begun = False
        self._failures = 0

    async def run(self) -> None:
        """Shows changes until there were enough of them."""
        async with session(self._options) as variables:
            while self._left != 0:
                try:
                    await self._follow(variables)
                except BridgeError as error:
                    await self._recover(error)

    async def _follow(self, variables: Session) -> None:
        watch = variables.watch(*self._names, initial=self._initial, resume_after=self._positions)
        async with watch:
            self._positions = watch.positions
            if self._failures:
                _note("the host is back")
            elif not self._has_begun:
                _note(f"watching {', '.join(self._names)}; Ctrl-C ends it")
            self._has_begun, self._failures = True, 0
            async for update in watch:
                self._show(update)
                if self._left == 0:
                    return

    def _show(self, update: Update) -> None:
        if update.variable is None:
            return
        if self._options.json_output:
            output.show_json(update_document(update))
        else:
            sys.stdout.write(update_line(update) + "\n")
            sys.stdout.flush()
        if self._left is not None:
            self._left -= 1

    async def _recover(self, error: BridgeError) -> None:
        """Returns when it makes sense to watch again, or raises what cannot be helped."""
        if error.reason == "WATCH_BEHIND":
            self._skip(error)
        elif error.code is Code.UNAVAILABLE and self._reconnect and self._has_begun:
            await self._wait(error)
        else:
            if self._has_begun and error.code is not Code.NOT_FOUND:  # there is a session to go on in
                self.say_where_to_resume()
            raise CallFailed(error) from error

    def _skip(self, error: BridgeError) -> None:
        name, version = error.details.metadata["name"], int(error.details.metadata["resume_after"])
        missed, self._positions[name] = self._positions.get(name, 0), version
        _note(f"versions {missed + 1} to {version} of {name} were missed, they are not kept any more; going on")

    async def _wait(self, error: BridgeError) -> None:
        from bridge_client.backoff import Backoff

        if not self._failures:
            _note(f"the host is gone ({printable(error.message)}); waiting until it is back, Ctrl-C gives up")
        self._failures += 1
        await asyncio.sleep(Backoff(initial=0.1, maximum=5.0).delay(self._failures, random.random()))  # noqa: S311

    def say_where_to_resume(self) -> None:
        """Says how to go on later without missing anything."""
        positions = [f"--resume {name}={version}" for name, version in self._positions.items()]
        if positions:
            _note(f"to go on from here: bridge var watch {shlex.join(self._names)} {' '.join(positions)}")


def _note(text: str) -> None:
    """On stderr, where it does not get between the changes."""
    sys.stderr.write(f"bridge: {text}\n")
    sys.stderr.flush()

"""A change of a variable that depends on its value, safe against other writers: compare-and-set, again if needed."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from bridge.call import NO_VALUE, time_remaining
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.variable_exchange import Turn
from bridge.variables import Write, variable_not_found

if TYPE_CHECKING:
    from bridge.session_variables import SessionVariables

__all__ = ["MAX_ATTEMPTS", "Updating"]

MAX_ATTEMPTS = 50
"""Writes after which an update gives up."""
_FIRST_PAUSE = 0.001
"""Seconds at most before the second attempt; twice as long before each further one."""
_LONGEST_PAUSE = 0.1


class Updating:
    """One update on its way. From ``begin`` to ``end`` it holds its turn among the writes of its session object.

    Args:
        variables: of the session.
        name: the variable.
        default: the value to begin with if there is none; ``NO_VALUE``: that is NOT_FOUND.
    """

    def __init__(self, variables: SessionVariables, name: str, default: Any) -> None:
        self.value = default
        """The value that the next one is made of."""
        self._variables = variables
        self._name = name
        self._default = default
        self._version = 0
        self._attempts = 0
        self._scope: CallScope
        self._turn: Turn | None = None

    async def begin(self) -> None:
        """Waits for the turn and reads the value."""
        self._scope = self._variables._session()
        self._turn = self._variables._talk().turn((self._name,))
        await self._turn.__aenter__()
        await self._look()

    def calling(self) -> AbstractContextManager[None]:
        """Around the code that makes the next value."""
        assert self._turn is not None  # noqa: S101 - after begin
        return self._turn.calling()

    async def offer(self, value: Any) -> bool:
        """Writes the next value if nobody else has written meanwhile; otherwise reads again and returns ``False``.

        Raises:
            BridgeError: ABORTED, reason ``CONTENTION``, after ``MAX_ATTEMPTS``; otherwise that of the host.
        """
        write = Write(name=self._name, value=value, expected_version=self._version)
        try:
            await self._variables._ask(lambda host: host.set_variables(self._scope, [write]), self._scope)
        except BridgeError as error:
            if error.code is not Code.ABORTED:
                raise
            failure = error
        else:
            return True
        self._attempts += 1
        if self._attempts >= MAX_ATTEMPTS:
            message = (
                f"{self._name} was not updated: others were faster {self._attempts} times in a row; try again later, "
                "or let fewer writers share one variable"
            )
            raise BridgeError(Code.ABORTED, message, reason="CONTENTION") from failure
        await asyncio.sleep(self._pause())
        await self._look()
        return False

    async def end(self) -> None:
        """Gives the turn to the next write. Repeating it is harmless."""
        if self._turn is not None:
            self._turn.release()

    async def _look(self) -> None:
        """Reads past what is remembered, so that a value the author's code has changed in place is seen by nobody."""
        names = [self._name]
        found = await self._variables._ask(
            lambda host: host.get_variables(self._scope, names), self._scope, idempotent=True
        )
        variable = found.get(self._name)
        if variable is not None:
            self.value, self._version = variable.value, variable.version
        elif self._default is not NO_VALUE:
            self.value, self._version = self._default, 0
        else:
            raise variable_not_found(self._name)

    def _pause(self) -> float:
        ceiling: float = min(_FIRST_PAUSE * 2.0**self._attempts, _LONGEST_PAUSE)
        remaining = time_remaining(self._scope.deadline)
        pause = ceiling * random.random()  # noqa: S311 - keeps writers apart, hides nothing
        return pause if remaining is None else min(pause, remaining)

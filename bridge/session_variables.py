"""The calls about variables, in one place: a tool's session context has them, and a client's session.

What differs (who asks which host, and whether reads are remembered) is in a few methods that both implement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, TypeVar

from bridge.call import NO_VALUE
from bridge.errors import BridgeError, invalid_argument
from bridge.host import CallScope, Host
from bridge.variable_exchange import Exchange, Found
from bridge.variable_update import Updating
from bridge.variable_watch import Begun, Watch, open_watch
from bridge.variables import Constraints, Declaration, Update, Variable, Write, WriteResult, variable_not_found

__all__ = ["SessionVariables", "value_of"]

T = TypeVar("T")


class SessionVariables:
    """Variables of a session.

    All methods raise ``BridgeError``: NOT_FOUND, reason ``SESSION_NOT_FOUND``, if the host has no such session (any
    more); otherwise what the host raises.

    Reads asked for together (``asyncio.gather``) become one request. Writes go to the host one after the other in the
    order they were asked for, even if they were asked for at the same time, and a read asked for after a write of the
    same name sees it, or what came later.
    """

    __slots__ = ()

    # -- what a session object implements ------------------------------------------------------------------------

    def _session(self) -> CallScope:
        """On whose behalf the host is asked; raises ``BridgeError`` if there is no session."""
        raise NotImplementedError

    def _talk(self) -> Exchange:
        """The order in which it is asked."""
        raise NotImplementedError

    async def _ask(self, operation: Callable[[Host], Awaitable[T]], scope: CallScope, *, idempotent: bool = False) -> T:
        """Asks the host; may do so again if that is safe."""
        raise NotImplementedError

    def _remembered(self, name: str) -> Any:
        """The ``Variable`` read before, ``None`` if there was none; ``NO_VALUE`` if that is not known (any more)."""
        return NO_VALUE

    # -- reads ---------------------------------------------------------------------------------------------------

    async def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """The value of a variable.

        Args:
            name: the variable.
            default: returned if there is none; without it that is NOT_FOUND, reason ``VARIABLE_NOT_FOUND``.
            fresh: in a tool, ask the host even if the variable was read before in this call.
        """
        variable = NO_VALUE if fresh else self._remembered(name)
        if variable is NO_VALUE:
            variable = (await self._read((name,), fresh=fresh))[name]
        return value_of(name, variable, default)

    async def get_variable(self, name: str) -> Variable:
        """A variable with its version, type and constraints, as it is now."""
        variable = (await self._read((name,), fresh=True))[name]
        if variable is None:
            raise variable_not_found(name)
        return variable

    async def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """Values of several variables, read at one instant in one round trip; those that do not exist are absent.

        Args:
            names: the variables, at most 1000.
            fresh: in a tool, also ask for those that were read before in this call; they are otherwise of that instant.
        """
        names = tuple(names)
        found = await self._read(names, fresh=fresh)
        return {name: variable.value for name in names if (variable := found[name]) is not None}

    async def _read(self, names: Sequence[str], *, fresh: bool) -> Found:
        fetch = partial(self._fetch, self._session())
        return await self._talk().read(names, fetch, fresh=fresh, at_once=self._asks_alone())

    def _asks_alone(self) -> bool:
        """Whether the code that asks is all that can ask in this turn of the event loop."""
        return False

    async def _fetch(self, scope: CallScope, names: Sequence[str]) -> dict[str, Variable]:
        return await self._ask(lambda host: host.get_variables(scope, names), scope, idempotent=True)

    async def history(self, name: str, limit: int = 0) -> list[Update]:
        """The changes of a variable that are still kept, newest first, the current one included.

        Args:
            name: the variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if nothing is kept of it.
            limit: most changes to return; 0 for all.
        """
        scope = self._session()
        await self._talk().settle((name,))
        return await self._ask(lambda host: host.get_history(scope, name, limit=limit), scope, idempotent=True)

    async def list(self, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted by name; all without a pattern."""
        scope = self._session()
        await self._talk().settle()
        return await self._ask(lambda host: host.list_variables(scope, pattern), scope, idempotent=True)

    def watch(self, *names: str, initial: bool = False, resume_after: Mapping[str, int] | None = None) -> Watch:
        """Watches variables: ``async with ctx.watch("a") as watch: async for update in watch: ...``; see ``Watch``.

        Args:
            names: the variables; they need not exist yet.
            initial: begin with the values there are, of names that are not in ``resume_after``.
            resume_after: by name, the version after which to go on, as an earlier watch left it in ``positions``.
        """
        positions = dict(resume_after or {})

        async def begin() -> Begun:
            scope = self._session()
            await self._talk().settle(names)
            return await self._open_watch(scope, names, initial, positions)

        return Watch(begin, positions, self._changed)

    async def _open_watch(
        self, scope: CallScope, names: Sequence[str], initial: bool, positions: Mapping[str, int]
    ) -> Begun:
        return await self._ask(lambda host: open_watch(host, scope, names, initial, positions), scope, idempotent=True)

    def _changed(self, name: str) -> None:
        """A watch has shown that a variable has changed, so what was read of it is old."""
        self._talk().forget((name,))

    # -- writes --------------------------------------------------------------------------------------------------

    async def set(
        self,
        name: str,
        value: Any,
        expected_version: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> int:
        """Writes a variable and returns its new version. An unknown name is registered with the value's type.

        Args:
            name: the variable.
            value: must fit the variable's type and constraints.
            expected_version: write only if this is the current version (0: only if there is none), otherwise ABORTED,
                reason ``VERSION_MISMATCH``.
            metadata: free text to keep with it; as before by default.
            ttl: seconds it lives from now; as before by default.
        """
        write = Write(name=name, value=value, expected_version=expected_version, metadata=metadata or {}, ttl=ttl)
        version = (await self._write([write], atomic=True))[name]
        if isinstance(version, BridgeError):
            raise version
        return version

    async def set_many(
        self,
        values: Mapping[str, Any],
        *,
        atomic: bool = True,
        expected_versions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> dict[str, WriteResult]:
        """Writes several variables.

        Args:
            values: the new values by name.
            atomic: all or nothing.
            expected_versions: as ``expected_version`` of ``set``, for some or all of the names.
            metadata: free text to keep with each; as before by default.
            ttl: seconds each lives from now; as before by default.

        Returns:
            The new version by name; without ``atomic`` the error of those that were refused. With ``atomic`` the first
            refusal is raised and nothing is written.
        """
        expected = expected_versions or {}
        if not expected.keys() <= values.keys():
            raise invalid_argument("expected_versions", "has names that are not written")
        writes = [
            Write(name=name, value=value, expected_version=expected.get(name), metadata=metadata or {}, ttl=ttl)
            for name, value in values.items()
        ]
        return await self._write(writes, atomic=atomic)

    async def _write(self, writes: Sequence[Write], *, atomic: bool) -> dict[str, WriteResult]:
        scope = self._session()
        async with self._talk().turn([write.name for write in writes]):
            return await self._ask(lambda host: host.set_variables(scope, writes, atomic=atomic), scope)

    async def register(
        self,
        name: str,
        type: str,
        value: Any,
        constraints: Constraints | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Variable:
        """Declares a variable.

        Args:
            name: the variable; one that exists gets the new declaration as its next version.
            type: integer, float, string, boolean, choice, json, embedding, tensor or bytes.
            value: its value.
            constraints: what every value must satisfy.
            metadata: free text kept with it.
            ttl: seconds it lives from now; as long as the session by default.
        """
        declaration = Declaration(
            name=name,
            type=type,
            value=value,
            constraints=constraints or Constraints(),
            metadata=metadata or {},
            ttl=ttl,
        )
        scope = self._session()
        async with self._talk().turn((name,)):
            return await self._ask(lambda host: host.register_variable(scope, declaration), scope)

    async def delete(self, name: str, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none.

        Args:
            name: the variable.
            expected_version: as for ``set``.
        """
        scope = self._session()
        async with self._talk().turn((name,)):
            await self._ask(lambda host: host.delete_variable(scope, name, expected_version=expected_version), scope)

    async def update(self, name: str, function: Callable[[Any], Any], default: Any = NO_VALUE) -> Any:
        """Changes a variable depending on its value, safely: ``await ctx.update("total", lambda n: n + 1, default=0)``.

        Reads the value and writes what the function makes of it, if nobody else has written in between; otherwise all
        over again, up to 50 times. Other writes of this session object wait meanwhile.

        Args:
            name: the variable.
            function: takes the value and returns the next one; may be ``async``. It can be called several times, so
                it must do nothing else; writing variables of the session in it is ``RuntimeError``.
            default: what the function gets if there is none; without it that is NOT_FOUND.

        Returns:
            What the function returned last, and is written.

        Raises:
            BridgeError: ABORTED, reason ``CONTENTION``, if others were faster every time.
        """
        updating = Updating(self, name, default)
        try:
            await updating.begin()
            while True:
                with updating.calling():
                    value = function(updating.value)
                    if isawaitable(value):
                        value = await value
                if await updating.offer(value):
                    return value
        finally:
            await updating.end()

    async def rollback(self, name: str, version: int, expected_version: int | None = None) -> Variable:
        """Writes the value of an earlier version again, as a new version; returns the variable.

        Args:
            name: the variable; one that is gone comes back.
            version: the version whose value is wanted; OUT_OF_RANGE, reason ``VERSION_GONE``, if it is not kept.
            expected_version: as for ``set``.
        """
        scope = self._session()
        async with self._talk().turn((name,)):
            return await self._ask(
                lambda host: host.rollback_variable(scope, name, version, expected_version=expected_version), scope
            )


def value_of(name: str, variable: Variable | None, default: Any = NO_VALUE) -> Any:
    """The value of what was read, or the default, or NOT_FOUND."""
    if variable is not None:
        return variable.value
    if default is NO_VALUE:
        raise variable_not_found(name)
    return default

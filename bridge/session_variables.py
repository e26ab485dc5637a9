"""The calls about variables, in one place: a tool's session context has them, and a client's session.

What differs (where a read comes from, how a write is sent) is in five methods that both implement.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from bridge.call import NO_VALUE
from bridge.errors import BridgeError
from bridge.variables import Constraints, Declaration, Variable, Write, WriteResult, variable_not_found

__all__ = ["BlockingVariables", "SessionVariables"]

T = TypeVar("T")


class SessionVariables:
    """Variables of a session.

    All methods raise ``BridgeError``: NOT_FOUND, reason ``SESSION_NOT_FOUND``, if the host has no such session (any
    more); otherwise what the host raises.
    """

    __slots__ = ()

    async def _read(self, names: list[str], *, fresh: bool) -> dict[str, Variable]:
        """Reads at one instant; names of which there is none are absent."""
        raise NotImplementedError

    async def _write(self, writes: list[Write], *, atomic: bool) -> dict[str, WriteResult]:
        """Writes; see ``bridge.host.Host.set_variables``."""
        raise NotImplementedError

    async def _register(self, declaration: Declaration) -> Variable:
        """Declares."""
        raise NotImplementedError

    async def delete(self, name: str, expected_version: int | None = None) -> None:
        """Deletes a variable; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is none."""
        raise NotImplementedError

    async def list(self, pattern: str = "") -> list[Variable]:
        """Variables whose name matches a glob (``*``, ``?``), sorted by name; all without a pattern."""
        raise NotImplementedError

    async def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """The value of a variable.

        Args:
            name: the variable.
            default: returned if there is none; without it that is NOT_FOUND, reason ``VARIABLE_NOT_FOUND``.
            fresh: in a tool, ask the host even if the value was read before in this invocation.
        """
        found = await self._read([name], fresh=fresh)
        if name in found:
            return found[name].value
        if default is not NO_VALUE:
            return default
        raise variable_not_found(name)

    async def get_variable(self, name: str) -> Variable:
        """A variable with its version, type and constraints, as it is now."""
        found = await self._read([name], fresh=True)
        if name not in found:
            raise variable_not_found(name)
        return found[name]

    async def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """Values of several variables, read at one instant in one round trip; those that do not exist are absent."""
        return {name: variable.value for name, variable in (await self._read([*names], fresh=fresh)).items()}

    async def set(self, name: str, value: Any, expected_version: int | None = None) -> int:
        """Writes a variable and returns its new version. An unknown name is registered with the value's type.

        Args:
            name: the variable.
            value: must fit the variable's type and constraints.
            expected_version: write only if this is the current version (0: only if there is none), otherwise ABORTED,
                reason ``VERSION_MISMATCH``.
        """
        results = await self._write([Write(name=name, value=value, expected_version=expected_version)], atomic=True)
        version = results[name]
        if isinstance(version, BridgeError):
            raise version
        return version

    async def set_many(self, values: Mapping[str, Any], *, atomic: bool = True) -> dict[str, WriteResult]:
        """Writes several variables.

        Returns:
            The new version by name; without ``atomic`` the error of those that were refused. With ``atomic`` the first
            refusal is raised and nothing is written.
        """
        return await self._write([Write(name=name, value=value) for name, value in values.items()], atomic=atomic)

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
        return await self._register(
            Declaration(
                name=name,
                type=type,
                value=value,
                constraints=constraints or Constraints(),
                metadata=metadata or {},
                ttl=ttl,
            )
        )


class BlockingVariables:
    """``SessionVariables`` for code without asyncio: the same calls, blocking."""

    __slots__ = ()

    def _variables(self) -> SessionVariables:
        """What is asked."""
        raise NotImplementedError

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the event loop and waits for it."""
        raise NotImplementedError

    def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """See ``SessionVariables.get``."""
        return self._run(self._variables().get(name, default, fresh=fresh))

    def get_variable(self, name: str) -> Variable:
        """See ``SessionVariables.get_variable``."""
        return self._run(self._variables().get_variable(name))

    def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """See ``SessionVariables.get_many``."""
        return self._run(self._variables().get_many(names, fresh=fresh))

    def set(self, name: str, value: Any, expected_version: int | None = None) -> int:
        """See ``SessionVariables.set``."""
        return self._run(self._variables().set(name, value, expected_version))

    def set_many(self, values: Mapping[str, Any], *, atomic: bool = True) -> dict[str, WriteResult]:
        """See ``SessionVariables.set_many``."""
        return self._run(self._variables().set_many(values, atomic=atomic))

    def register(
        self, name: str, type: str, value: Any, constraints: Constraints | None = None, **options: Any
    ) -> Variable:
        """See ``SessionVariables.register``."""
        return self._run(self._variables().register(name, type, value, constraints, **options))

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """See ``SessionVariables.delete``."""
        self._run(self._variables().delete(name, expected_version))

    def list(self, pattern: str = "") -> list[Variable]:
        """See ``SessionVariables.list``."""
        return self._run(self._variables().list(pattern))

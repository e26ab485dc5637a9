"""Session variables by the names that Snakepit v0.4.2 gave their methods, and later versions took away.

Values are remembered for some seconds, as there. An identifier is a name: there are no other ids.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from bridge.errors import BridgeError, Code
from bridge.session import SyncSessionContext
from bridge.variables import NO_CONSTRAINTS, Constraints, Variable

__all__ = ["StockVariable", "StockVariables", "VariableNotFoundError"]

T = TypeVar("T")

CACHE_TTL = 5.0
"""Seconds for which a value that was read is taken to be current."""
_TYPES = {"module": "string", "map": "json", "list": "json"}
"""Types that have another name here."""
_CONSTRAINTS = {"enum": "choices", "allowed_modules": "choices"}
"""Constraints that have another name here."""


class VariableNotFoundError(KeyError):
    """The session has no such variable."""


class StockVariables:
    """The methods. All of them raise ``VariableNotFoundError`` for a variable that is not there, ``ValueError`` for a
    value, name or constraint that is refused, and ``BridgeError`` if the host cannot be asked."""

    def __init__(self) -> None:
        self._ttl = CACHE_TTL
        self._read_at: dict[str, float] = {}
        """When a name was read last, by ``time.monotonic()``."""

    def _ask(self, question: Callable[[SyncSessionContext], T]) -> T:
        """Asks the host and waits for the answer."""
        raise NotImplementedError

    def register_variable(
        self,
        name: str,
        var_type: str | enum.Enum,
        initial_value: Any,
        constraints: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: timedelta | None = None,
    ) -> str:
        """Declares a variable and returns its identifier, which is its name.

        Args:
            name: the variable.
            var_type: float, integer, string, boolean, choice, module, embedding, tensor, map or list, or a member of
                ``VariableType``.
            initial_value: its value.
            constraints: as Snakepit has them: min, max, min_length, max_length, pattern, enum, choices,
                allowed_modules, dimensions, shape.
            metadata: free text kept with it.
            ttl: without meaning: how long values are remembered is the same for all variables.
        """
        given = str(var_type.value if isinstance(var_type, enum.Enum) else var_type).lower()
        type_ = _TYPES.get(given, given)
        limits = _constraints(constraints or {})
        if type_ == "tensor" and isinstance(initial_value, Mapping):  # Snakepit's form of one: shape and data
            type_, limits = "json", NO_CONSTRAINTS
        with _refusals():
            self._ask(lambda sync: sync.register(name, type_, initial_value, limits, metadata=metadata))
        return name

    def get_variable(self, identifier: str) -> Any:
        """The value of a variable."""
        fresh = self._is_old(identifier)
        with _refusals():
            value = self._ask(lambda sync: sync.get(identifier, fresh=fresh))
        self._note((identifier,), fresh)
        return value

    def update_variable(self, identifier: str, new_value: Any, metadata: Mapping[str, str] | None = None) -> None:
        """Writes a variable that is there."""
        self.get_variable(identifier)
        with _refusals():
            self._ask(lambda sync: sync.set(identifier, new_value, metadata=metadata))

    def list_variables(self, pattern: str | None = None) -> list[dict[str, Any]]:
        """The variables, or those whose names match a pattern, as ``temp_*``."""
        with _refusals():
            variables = self._ask(lambda sync: sync.list(pattern or ""))
        return [_described(variable) for variable in variables]

    def delete_variable(self, identifier: str) -> None:
        """Deletes a variable."""
        with _refusals():
            self._ask(lambda sync: sync.delete(identifier))

    def get_variables(self, identifiers: Iterable[str]) -> dict[str, Any]:
        """The values of several variables, in one round trip."""
        names = list(identifiers)
        fresh = any(map(self._is_old, names))
        with _refusals():
            values = self._ask(lambda sync: sync.get_many(names, fresh=fresh))
        for name in names:
            if name not in values:
                raise VariableNotFoundError(f"Variable not found: {name}")
        self._note(names, fresh)
        return values

    def update_variables(
        self, updates: Mapping[str, Any], atomic: bool = False, metadata: Mapping[str, str] | None = None
    ) -> dict[str, bool | str]:
        """Writes several variables that are there; by name, ``True`` or why it was refused. With ``atomic`` one that is
        refused keeps all of them from being written, and only it is returned."""
        self.get_variables(updates)
        try:
            written = self._ask(lambda sync: sync.set_many(updates, atomic=atomic, metadata=metadata))
        except BridgeError as error:
            if not atomic or error.code is not Code.INVALID_ARGUMENT or not error.violations:
                raise
            return {violation.field: violation.description for violation in error.violations}
        return {name: result.message if isinstance(result, BridgeError) else True for name, result in written.items()}

    @contextmanager
    def batch_updates(self) -> Iterator[dict[str, Any]]:
        """Gathers writes, ``with context.batch_updates() as batch: batch["x"] = 1``, and makes them at the end."""
        updates: dict[str, Any] = {}
        yield updates
        if updates:
            self.update_variables(updates)

    def variable(self, name: str) -> StockVariable:
        """A variable whose ``value`` can be read and written."""
        return StockVariable(self, name)

    @property
    def v(self) -> _Names:
        """Variables as attributes: ``context.v.temperature = 0.8``."""
        return _Names(self)

    def set_cache_ttl(self, ttl: timedelta) -> None:
        """Says how long a value that was read is taken to be current."""
        self._ttl = ttl.total_seconds()

    def clear_cache(self) -> None:
        """Forgets all that was read."""
        self._read_at.clear()

    def __getitem__(self, name: str) -> Any:
        return self.get_variable(name)

    def __setitem__(self, name: str, value: Any) -> None:
        with _refusals():
            self._ask(lambda sync: sync.set(name, value))  # one that is not there is registered

    def __contains__(self, name: str) -> bool:
        try:
            self.get_variable(name)
        except VariableNotFoundError:
            return False
        return True

    __iter__ = None  # else Python would ask for context[0], context[1] and so on

    def _is_old(self, name: str) -> bool:
        read_at = self._read_at.get(name)
        return read_at is None or time.monotonic() - read_at > self._ttl

    def _note(self, names: Iterable[str], fresh: bool) -> None:
        if fresh:
            self._read_at.update(dict.fromkeys(names, time.monotonic()))


class StockVariable:
    """A variable of a session, read and written when its ``value`` is."""

    def __init__(self, variables: StockVariables, name: str) -> None:
        self._variables, self._name = variables, name

    @property
    def value(self) -> Any:
        """Its value."""
        return self._variables.get_variable(self._name)

    @value.setter
    def value(self, value: Any) -> None:
        self._variables.update_variable(self._name, value)

    def __repr__(self) -> str:
        return f"<Variable {self._name}>"


class _Names:
    def __init__(self, variables: StockVariables) -> None:
        object.__setattr__(self, "_variables", variables)

    def __getattr__(self, name: str) -> Any:
        return object.__getattribute__(self, "_variables").get_variable(name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_variables")[name] = value


@contextmanager
def _refusals() -> Iterator[None]:
    """Errors as Snakepit's Python raised them."""
    try:
        yield
    except BridgeError as error:
        if error.reason == "VARIABLE_NOT_FOUND":
            raise VariableNotFoundError(error.message) from error
        if error.code is Code.INVALID_ARGUMENT:
            raise ValueError(error.message) from error
        raise


def _constraints(given: Mapping[str, Any]) -> Constraints:
    fields = {_CONSTRAINTS.get(name, name): _settled(limit) for name, limit in given.items()}
    unknown = fields.keys() - set(Constraints.__struct_fields__)
    if unknown:
        raise ValueError(f"there are no constraints {', '.join(sorted(unknown))}: leave them out")
    return Constraints(**fields)


def _settled(limit: Any) -> Any:
    return tuple(limit) if isinstance(limit, list | set) else limit


def _described(variable: Variable) -> dict[str, Any]:
    constraints = msgspec.structs.asdict(variable.constraints)
    unset = msgspec.structs.asdict(NO_CONSTRAINTS)
    return {
        "id": variable.name,
        "name": variable.name,
        "type": variable.type,
        "value": variable.value,
        "version": variable.version,
        "constraints": {name: limit for name, limit in constraints.items() if limit != unset[name]},
        "metadata": dict(variable.metadata),
        "optimizing": False,
    }

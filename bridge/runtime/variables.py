"""The calls about variables, as conversations: what is to be asked and waited for, one step after the other.

An async tool and a plain one go through the same steps, one awaiting each and the other blocking (``context``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, Callable, NamedTuple, TypeVar, Union

from . import host_messages as messages
from .calls import NO_VALUE
from .errors import BridgeError, Code, NoSessionError
from .host_messages import Constraints, Variable, WriteResult, variable_not_found
from .turns import Turn, Turns

__all__ = ["Ask", "Conversation", "Finish", "Pause", "Step", "Variables", "value_of"]

T = TypeVar("T")

MAX_ATTEMPTS = 50
"""Writes after which an update gives up."""
_FIRST_PAUSE = 0.001
"""Seconds at most before the second attempt; twice as long before each further one."""
_LONGEST_PAUSE = 0.1


class Ask(NamedTuple):
    """A question to the host; goes on with the answer."""

    path: str
    request: bytes


class Pause(NamedTuple):
    """Time to let pass, in seconds."""

    seconds: float


class Finish(NamedTuple):
    """Something that may have to be awaited; goes on with its result."""

    value: Any


Step = Union[Ask, Turn, Pause, Finish]
Conversation = Generator[Step, Any, T]


class Variables:
    """Variables as one call sees them: what was read is remembered until this call writes it."""

    __slots__ = ("_has_session", "_known", "_stamp", "_stamps", "_turns")

    def __init__(self, has_session: bool) -> None:
        self._has_session = has_session
        self._known: dict[str, Variable | None] = {}
        self._turns = Turns()
        # A number for each request and each write. An answer to what was asked before something else happened to the
        # name must not be kept, however late it comes.
        self._stamp = 0
        self._stamps: dict[str, int] = {}

    def _check_session(self) -> None:
        if not self._has_session:
            raise NoSessionError

    # -- reads ---------------------------------------------------------------------------------------------------

    def remembered(self, name: str) -> Any:
        """What was read of it; ``None`` if there was none; ``NO_VALUE`` if that is not known (any more)."""
        return self._known.get(name, NO_VALUE)

    def read(self, names: Iterable[str], *, fresh: bool = False) -> Conversation[dict[str, Variable | None]]:
        """Variables by name; those that are not known, or all if ``fresh``, at one instant in one request."""
        self._check_session()
        names = tuple(names)
        found = {} if fresh else {name: self._known[name] for name in names if name in self._known}
        wanted = [name for name in names if name not in found]
        if wanted:
            request = messages.pack_get(wanted)
            turn = self._turns.before(wanted)
            if turn is not None:
                yield from self._wait(turn)
                self._turns.end(turn)
            self._stamp += 1
            stamp = self._stamp
            answer = messages.read_variables((yield Ask(messages.GET_VARIABLES, request)))
            for name in wanted:
                found[name] = answer.get(name)
                if self._stamps.get(name, 0) < stamp:
                    self._stamps[name] = stamp
                    self._known[name] = found[name]
        return found

    def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Conversation[Any]:
        found = yield from self.read((name,), fresh=fresh)
        return value_of(name, found[name], default)

    def get_variable(self, name: str) -> Conversation[Variable]:
        variable = (yield from self.read((name,), fresh=True))[name]
        if variable is None:
            raise variable_not_found(name)
        return variable

    def get_many(self, names: Iterable[str], *, fresh: bool = False) -> Conversation[dict[str, Any]]:
        names = tuple(names)
        found = yield from self.read(names, fresh=fresh)
        return {name: variable.value for name, variable in ((name, found[name]) for name in names) if variable}

    def list(self, pattern: str = "") -> Conversation[list[Variable]]:
        self._check_session()
        request = messages.pack_list(pattern)
        turn = self._turns.take()  # the names are not known, so all writes
        try:
            yield from self._wait(turn)
        finally:
            self._turns.end(turn)
        return messages.read_list((yield Ask(messages.LIST_VARIABLES, request)))

    # -- writes --------------------------------------------------------------------------------------------------

    def _wait(self, turn: Turn) -> Conversation[None]:
        try:
            yield turn
        except BaseException:
            self._turns.end(turn)
            raise

    def _forget(self, names: Iterable[str]) -> None:
        self._stamp += 1
        for name in names:
            self._known.pop(name, None)
            self._stamps[name] = self._stamp

    def _write(self, names: Iterable[str], path: str, request: bytes) -> Conversation[bytes]:
        self._check_session()
        names = tuple(names)
        turn = self._turns.take(names)
        self._forget(names)
        try:
            yield turn
            answer: bytes = yield Ask(path, request)
            return answer
        finally:
            self._forget(names)
            self._turns.end(turn)

    def set(
        self,
        name: str,
        value: Any,
        expected_version: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Conversation[int]:
        request = messages.pack_set(name, value, expected_version=expected_version, metadata=metadata, ttl=ttl)
        return messages.read_version((yield from self._write((name,), messages.SET_VARIABLE, request)))

    def set_many(
        self,
        values: Mapping[str, Any],
        *,
        atomic: bool = True,
        expected_versions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Conversation[dict[str, WriteResult]]:
        request, refused = messages.pack_set_many(
            values, atomic=atomic, expected_versions=expected_versions, metadata=metadata, ttl=ttl
        )
        answer = yield from self._write(values, messages.SET_VARIABLES, request)
        return {**messages.read_write_results(answer), **refused}

    def register(
        self,
        name: str,
        type: str,
        value: Any,
        constraints: Constraints | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Conversation[Variable]:
        request = messages.pack_register(
            name, type, value, constraints=constraints or Constraints(), metadata=metadata, ttl=ttl
        )
        return messages.read_registered((yield from self._write((name,), messages.REGISTER_VARIABLE, request)))

    def delete(self, name: str, expected_version: int | None = None) -> Conversation[None]:
        request = messages.pack_delete(name, expected_version=expected_version)
        yield from self._write((name,), messages.DELETE_VARIABLE, request)

    def update(self, name: str, function: Callable[[Any], Any], default: Any = NO_VALUE) -> Conversation[Any]:
        self._check_session()
        request = messages.pack_get((name,))
        turn = self._turns.take((name,))
        try:
            yield turn
            for attempt in range(MAX_ATTEMPTS):
                if attempt:
                    import random  # takes some milliseconds, and most updates need no second attempt

                    yield Pause(min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * random.random())  # noqa: S311
                # Past what is remembered, so that a value the author's code has changed in place is seen by nobody.
                variable = messages.read_variables((yield Ask(messages.GET_VARIABLES, request))).get(name)
                with turn.calling():
                    value = yield Finish(function(value_of(name, variable, default)))
                version = variable.version if variable else 0
                try:
                    yield Ask(messages.SET_VARIABLE, messages.pack_set(name, value, expected_version=version))
                except BridgeError as error:
                    if error.code is not Code.ABORTED:
                        raise
                    failure = error
                else:
                    return value
        finally:
            self._forget((name,))
            self._turns.end(turn)
        message = (
            f"{name} was not updated: others were faster {MAX_ATTEMPTS} times in a row; try again later, "
            "or let fewer writers share one variable"
        )
        raise BridgeError(Code.ABORTED, message, reason="CONTENTION") from failure


def value_of(name: str, variable: Variable | None, default: Any = NO_VALUE) -> Any:
    """The value of what was read, or the default, or NOT_FOUND."""
    if variable is not None:
        return variable.value
    if default is NO_VALUE:
        raise variable_not_found(name)
    return default

"""``SessionVariables`` for code without asyncio: the same calls, blocking."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from bridge.call import NO_VALUE
from bridge.session_variables import SessionVariables, value_of
from bridge.variable_update import Updating
from bridge.variable_watch import Watch
from bridge.variables import Constraints, Update, Variable, WriteResult

__all__ = ["BlockingVariables", "BlockingWatch"]

T = TypeVar("T")


class BlockingVariables:
    """Variables of a session, for code that blocks; any number of threads may share it.

    It can be used like a mapping: ``v["x"]``, ``v["x"] = 1``, ``"x" in v``, ``del v["x"]``. A name of which there is no
    variable is ``BridgeError`` NOT_FOUND, as everywhere, and not ``KeyError``.
    """

    __slots__ = ()
    __iter__ = None  # else Python would ask for v[0], v[1] and so on

    def _variables(self) -> SessionVariables:
        """What is asked."""
        raise NotImplementedError

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the event loop and waits for it."""
        raise NotImplementedError

    def _finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine that lets go of something, also if nothing else may run any more."""
        raise NotImplementedError

    def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """See ``SessionVariables.get``."""
        variables = self._variables()
        variable = NO_VALUE if fresh else variables._remembered(name)
        if variable is not NO_VALUE:
            return value_of(name, variable, default)  # without a way to the event loop and back
        return self._run(variables.get(name, default, fresh=fresh))

    def get_variable(self, name: str) -> Variable:
        """See ``SessionVariables.get_variable``."""
        return self._run(self._variables().get_variable(name))

    def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """See ``SessionVariables.get_many``."""
        return self._run(self._variables().get_many(names, fresh=fresh))

    def history(self, name: str, limit: int = 0) -> list[Update]:
        """See ``SessionVariables.history``."""
        return self._run(self._variables().history(name, limit))

    def list(self, pattern: str = "") -> list[Variable]:
        """See ``SessionVariables.list``."""
        return self._run(self._variables().list(pattern))

    def watch(self, *names: str, initial: bool = False, resume_after: Mapping[str, int] | None = None) -> BlockingWatch:
        """See ``SessionVariables.watch``: ``with session.watch("a") as watch: for update in watch: ...``."""
        return BlockingWatch(self, self._variables().watch(*names, initial=initial, resume_after=resume_after))

    def set(
        self,
        name: str,
        value: Any,
        expected_version: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> int:
        """See ``SessionVariables.set``."""
        return self._run(self._variables().set(name, value, expected_version, metadata=metadata, ttl=ttl))

    def set_many(
        self,
        values: Mapping[str, Any],
        *,
        atomic: bool = True,
        expected_versions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> dict[str, WriteResult]:
        """See ``SessionVariables.set_many``."""
        return self._run(
            self._variables().set_many(
                values, atomic=atomic, expected_versions=expected_versions, metadata=metadata, ttl=ttl
            )
        )

    def register(
        self,
        name: str,
        type: str,
        value: Any,
        constraints: Constraints | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Variable:
        """See ``SessionVariables.register``."""
        return self._run(self._variables().register(name, type, value, constraints, metadata=metadata, ttl=ttl))

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """See ``SessionVariables.delete``."""
        self._run(self._variables().delete(name, expected_version))

    def update(self, name: str, function: Callable[[Any], Any], default: Any = NO_VALUE) -> Any:
        """See ``SessionVariables.update``; the function is a plain one and called in this thread."""
        updating = Updating(self._variables(), name, default)
        try:
            self._run(updating.begin())
            while True:
                with updating.calling():
                    value = function(updating.value)
                if self._run(updating.offer(value)):
                    return value
        finally:
            self._finish(updating.end())

    def rollback(self, name: str, version: int, expected_version: int | None = None) -> Variable:
        """See ``SessionVariables.rollback``."""
        return self._run(self._variables().rollback(name, version, expected_version))

    # -- like a mapping ------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __contains__(self, name: str) -> bool:
        return self.get(name, _MISSING) is not _MISSING


_MISSING = object()


class BlockingWatch:
    """``Watch`` for code without asyncio: ``with session.watch("a") as watch: for update in watch: ...``.

    ``close``, from any thread, ends the iteration.
    """

    def __init__(self, variables: BlockingVariables, watch: Watch) -> None:
        self._variables = variables
        self._watch = watch

    def __repr__(self) -> str:
        return repr(self._watch).replace("<Watch", "<BlockingWatch", 1)

    @property
    def positions(self) -> dict[str, int]:
        """See ``Watch.positions``."""
        return self._watch.positions

    def __enter__(self) -> Self:
        try:
            self._variables._run(self._watch.__aenter__())
        except BaseException:
            self.close()  # an interrupted wait may have begun the watch after all
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        update = self._variables._run(self._watch.next_update())
        if update is None:
            raise StopIteration
        return update

    def close(self) -> None:
        """Ends the watch. Repeating it is harmless."""
        self._variables._finish(self._watch.aclose())

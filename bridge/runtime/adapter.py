"""The adapter: the class a developer writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .context import SessionContext

__all__ = ["Adapter"]


class Adapter:
    """Base of all adapters: its methods marked ``@tool`` are the tools.

    An instance is made for every call and lives for that call only, so its attributes are never shared between calls.
    What is expensive to make and safe to share is made once per worker in ``lifespan``.

    A nested dataclass ``Config`` describes how the adapter can be configured; its fields are checked before the
    adapter sees them.
    """

    context: SessionContext
    """The call and its session; set before ``initialize``."""
    resources: Any = None
    """What ``lifespan`` yielded; shared by all calls in the worker."""
    config: Any = None
    """The ``Config``, also for ``lifespan``."""

    def initialize(self) -> Any:
        """Runs before the tool, in every call. May be ``async def``."""

    def cleanup(self) -> Any:
        """Runs after the tool, exactly once in every call whose ``initialize`` was begun, also after an error, a cancel
        or a deadline. May be ``async def``."""

    @classmethod
    def lifespan(cls) -> AbstractAsyncContextManager[Any]:
        """Resources of the worker: an async context manager, entered before the first call and left after the last.
        Another configuration leaves it and enters it again.

        Override it as::

            @classmethod
            @asynccontextmanager
            async def lifespan(cls):
                model = load(cls.config.path)
                yield model          # self.resources
                model.close()
        """
        return _no_resources()


@asynccontextmanager
async def _no_resources() -> AsyncIterator[None]:
    yield None

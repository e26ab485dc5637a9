"""What blocking clients have in common: calls, streams and sessions of an asyncio client on a background thread."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from bridge.blocking_variables import BlockingVariables
from bridge.call import NO_VALUE, Chunk, Progress
from bridge.variables import SessionInfo
from bridge_client import session as aio_session
from bridge_client import stream as aio_stream
from bridge_client.info import ToolInfo
from bridge_client.loop_thread import LoopThread

__all__ = ["BlockingClient", "Session", "ToolStream"]

T = TypeVar("T")


class CallsTools(Protocol):
    """An asyncio client."""

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any) -> Any: ...

    def stream(
        self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any
    ) -> aio_stream.ToolStream: ...

    def session(
        self, metadata: Mapping[str, str] | None = None, ttl: float | None = None, *, session_id: str | None = None
    ) -> aio_session.Session: ...

    async def list_sessions(self, limit: int = 0) -> list[SessionInfo]: ...

    async def tools(self, *, refresh: bool = False, timeout: float | None = None) -> list[ToolInfo]: ...

    async def aclose(self) -> None: ...


class BlockingClient:
    """The calls of an asyncio client, blocking. It is closed when it is forgotten, or when the interpreter exits."""

    _client: CallsTools
    _thread: LoopThread

    def _run_by(self, thread: LoopThread, client: CallsTools) -> None:
        self._client, self._thread = client, thread
        self._finalizer = weakref.finalize(self, thread.stop, client.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its sessions and connections and ends its thread; calls of other threads fail. Repeating it is
        harmless."""
        self._finalizer()

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        session: Session | str | None = None,
        metadata: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Any:
        """See ``call`` of the asyncio client."""
        return self._thread.run(
            self._client.call(tool, arguments, timeout=timeout, session=_id(session), metadata=metadata, **keywords)
        )

    def stream(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        session: Session | str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **keywords: Any,
    ) -> ToolStream:
        """See ``stream`` of the asyncio client; ``on_progress`` is called in the thread that iterates."""
        self._thread.check()
        stream = self._client.stream(
            tool, arguments, timeout=timeout, session=_id(session), metadata=metadata, **keywords
        )
        return ToolStream(self, self._thread, stream, on_progress)

    def session(
        self,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
        *,
        session_id: str | None = None,
    ) -> Session:
        """See ``session`` of the asyncio client."""
        return Session(self, self._thread, self._client.session(metadata, ttl, session_id=session_id))

    def list_sessions(self, limit: int = 0) -> list[SessionInfo]:
        """See ``list_sessions`` of the asyncio client."""
        return self._thread.run(self._client.list_sessions(limit))

    def tools(self, *, refresh: bool = False, timeout: float | None = None) -> list[ToolInfo]:
        """See ``tools`` of the asyncio client."""
        return self._thread.run(self._client.tools(refresh=refresh, timeout=timeout))


def _id(session: Session | str | None) -> str | None:
    return session.session_id if isinstance(session, Session) else session


class ToolStream:
    """A blocking ``bridge_client.ToolStream``: iterate over it, or over ``chunks()``; leaving ``with`` cancels it."""

    def __init__(
        self,
        client: BlockingClient,
        thread: LoopThread,
        stream: aio_stream.ToolStream,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self._client = client  # which must not be collected, and so closed, during the iteration
        self._thread = thread
        self._stream = stream
        self._on_progress = on_progress

    def __repr__(self) -> str:
        return repr(self._stream).replace("<ToolStream", "<sync.ToolStream", 1)

    @property
    def progress(self) -> Progress | None:
        """The latest note of progress."""
        return self._stream.progress

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while (chunk := self._next()) is not None:
            if chunk.value is not NO_VALUE:
                return chunk.value
        raise StopIteration

    def _next(self) -> Chunk | None:
        chunk = self._thread.run(self._stream.next_chunk())
        if chunk is not None and chunk.progress is not None and self._on_progress is not None:
            self._on_progress(chunk.progress)
        return chunk

    def chunks(self) -> Iterator[Chunk]:
        """See ``bridge_client.ToolStream.chunks``."""
        while (chunk := self._next()) is not None:
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancels the call if it runs."""
        if not self._thread.stopped:
            self._thread.run(self._stream.aclose(), to_its_end=True)


class Session(BlockingVariables):
    """A blocking ``bridge_client.Session``, used as ``with client.session() as session``."""

    def __init__(self, client: BlockingClient, thread: LoopThread, session: aio_session.Session) -> None:
        self._client = client
        self._thread = thread
        self._session = session

    def __repr__(self) -> str:
        return repr(self._session).replace("<Session", "<sync.Session", 1)

    @property
    def session_id(self) -> str:
        """See ``bridge_client.Session.session_id``."""
        return self._session.session_id

    @property
    def info(self) -> SessionInfo:
        """See ``bridge_client.Session.info``."""
        return self._session.info

    def __enter__(self) -> Self:
        self._thread.run(self._session.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """See ``bridge_client.Session.aclose``."""
        if not self._thread.stopped:
            self._thread.run(self._session.aclose(), to_its_end=True)

    def _variables(self) -> aio_session.Session:
        return self._session

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(coroutine)

    def _finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._thread.stopped:
            coroutine.close()  # what was to be let go of went with the client
        else:
            self._thread.run(coroutine, to_its_end=True)

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any) -> Any:
        """Calls a tool in this session; arguments and options as for ``BridgeClient.call``."""
        return self._client.call(tool, arguments, session=self, **options)

    def stream(self, tool: str, arguments: Mapping[str, Any] | None = None, /, **options: Any) -> ToolStream:
        """Calls a streaming tool in this session; arguments and options as for ``BridgeClient.stream``."""
        return self._client.stream(tool, arguments, session=self, **options)

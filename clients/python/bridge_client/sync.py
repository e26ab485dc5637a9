"""The blocking client: the asyncio client on a background thread, with the same calls.

Any number of threads may share one client. It does not survive ``fork`` (its thread does not); make one in each
process. A client that was not closed is closed when it is forgotten, or else when the interpreter exits.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from bridge.blocking_variables import BlockingVariables
from bridge.call import NO_VALUE, Chunk, Progress
from bridge.client_config import ClientConfig
from bridge.variables import SessionInfo
from bridge_client import client as aio
from bridge_client import session as aio_session
from bridge_client import stream as aio_stream
from bridge_client.breaker import State
from bridge_client.info import ServerInfo, ToolInfo
from bridge_client.loop_thread import LoopThread

__all__ = ["BridgeClient", "Session", "ToolStream"]

T = TypeVar("T")


class BridgeClient:
    """A blocking client, used as ``with BridgeClient("127.0.0.1:50051") as client``.

    Args:
        target: address of the server.
        options: as for ``bridge_client.BridgeClient``.
    """

    def __init__(self, target: str, **options: Any) -> None:
        self._start(aio.BridgeClient(target, **options))

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig, **options: Any) -> Self:
        """See ``bridge_client.BridgeClient.from_config``."""
        self = cls.__new__(cls)
        self._start(aio.BridgeClient.from_config(config, **options))
        return self

    def _start(self, client: aio.BridgeClient) -> None:
        self._client = client
        self._thread = LoopThread(f"bridge-client {client.target}")
        self._finalizer = weakref.finalize(self, self._thread.stop, client.aclose)
        try:
            self._thread.run(client.__aenter__())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return repr(self._client).replace("<BridgeClient", "<sync.BridgeClient", 1)

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

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._client.target

    @property
    def breaker_states(self) -> dict[str, State]:
        """See ``bridge_client.BridgeClient.breaker_states``."""
        return self._client.breaker_states

    def wait_ready(self, timeout: float = 10.0) -> None:
        """See ``bridge_client.BridgeClient.wait_ready``."""
        self._thread.run(self._client.wait_ready(timeout))

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
        """See ``bridge_client.BridgeClient.call``."""
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
        """See ``bridge_client.BridgeClient.stream``; ``on_progress`` is called in the thread that iterates."""
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
        """See ``bridge_client.BridgeClient.session``."""
        return Session(self, self._thread, self._client.session(metadata, ttl, session_id=session_id))

    def list_sessions(self, limit: int = 0) -> list[SessionInfo]:
        """See ``bridge_client.BridgeClient.list_sessions``."""
        return self._thread.run(self._client.list_sessions(limit))

    def tools(self, *, refresh: bool = False, timeout: float | None = None) -> list[ToolInfo]:
        """See ``bridge_client.BridgeClient.tools``."""
        return self._thread.run(self._client.tools(refresh=refresh, timeout=timeout))

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """See ``bridge_client.BridgeClient.server_info``."""
        return self._thread.run(self._client.server_info(timeout=timeout))


def _id(session: Session | str | None) -> str | None:
    return session.session_id if isinstance(session, Session) else session


class ToolStream:
    """A blocking ``bridge_client.ToolStream``: iterate over it, or over ``chunks()``; leaving ``with`` cancels it."""

    def __init__(
        self,
        client: BridgeClient,
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

    def __init__(self, client: BridgeClient, thread: LoopThread, session: aio_session.Session) -> None:
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

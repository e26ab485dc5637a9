"""Requests that are answered by many notifications before their result: both ends, on one connection.

A connection carries more than a stream, so who reads slowly must not stop reading. Instead who asks says how many
notifications it takes ahead, ``_meta.window``, and by ``$/more {"id": ..., "count": ...}`` that it has used some of
them. A side that knows nothing of this sends, or is sent, as fast as the connection takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.protocols.messages import Id, Notification, Request

__all__ = ["MORE", "PROGRESS", "WINDOW", "Streams", "Tell", "Windows"]

MORE = "$/more"
"""Notification that more is taken of a stream."""
PROGRESS = "$/progress"
"""Notification of the progress of a request that brought a token."""
WINDOW = 64
"""Notifications that a stream of ours may be ahead."""
MAX_AHEAD = 10_000
"""Notifications that are kept of a stream whose sender knows no windows."""

Tell = Callable[[str, bytes], Awaitable[None]]
"""Sends a notification: its method, and the JSON text of its params. Raises CANCELLED if the other side is gone."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class _Owner(msgspec.Struct):
    id: Id


class _Token(msgspec.Struct):
    token: Id


class _More(msgspec.Struct):
    id: Id
    count: _Count


class _Meta(msgspec.Struct):
    window: _Count | None = None


class _Asked(msgspec.Struct):
    meta: _Meta = msgspec.field(default_factory=_Meta, name="_meta")


_read_owner = msgspec.json.Decoder(_Owner).decode
_read_token = msgspec.json.Decoder(_Token).decode
_read_more = msgspec.json.Decoder(_More).decode
_read_asked = msgspec.json.Decoder(_Asked).decode


class _Stream:
    """What has come of a stream and was not taken."""

    def __init__(self) -> None:
        self.id: int | None = None
        self._notes: deque[Notification] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.is_behind = self._is_ended = False

    def put(self, note: Notification) -> None:
        if len(self._notes) < MAX_AHEAD:
            self._notes.append(note)
        else:
            self.is_behind = True
        self._wake()

    def end(self, _: object) -> None:
        self._is_ended = True
        self._wake()

    async def next(self) -> Notification | None:
        while not self._notes:
            if self._is_ended or self.is_behind:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._notes.popleft()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Streams:
    """Those that this side asks for.

    Args:
        connection: the way.
        names: of the notifications that carry them; each has the id of its request as ``id`` in its params.
    """

    def __init__(self, connection: Connection, names: Collection[str]) -> None:
        self._connection = connection
        self._names = frozenset(names)
        self._by_id: dict[Id, _Stream] = {}
        self._by_token: dict[Id, _Stream] = {}

    def heard(self, notification: Notification) -> bool:
        """Takes a notification; whether it was one of a stream. One of a stream that has ended is dropped."""
        text = notification.params or b"{}"
        try:
            if notification.method in self._names:
                stream = self._by_id.get(_read_owner(text).id)
            elif notification.method == PROGRESS:
                stream = self._by_token.get(_read_token(text).token)
                if stream is None:
                    return False
            else:
                return False
        except msgspec.MsgspecError:
            return notification.method != PROGRESS  # nobody can be told
        if stream is not None:
            stream.put(notification)
        return True

    async def open(
        self, method: str, params: dict[str, Any], *, timeout: float | None = None, token: Id | None = None
    ) -> AsyncGenerator[Notification | Raw, None]:
        """Asks, and yields the notifications as they come; the last is the result. Closing it cancels the request.

        Args:
            method: what to ask for.
            params: of it; ``_meta`` is added to.
            timeout: seconds to the result.
            token: yield notes of progress, too, that come by this name.

        Raises ``BridgeError``: what the request fails with; RESOURCE_EXHAUSTED, reason ``STREAM_BEHIND``, if too much
        has come of a side that does not wait.
        """
        stream = _Stream()

        def begun(id: int) -> None:
            stream.id = id
            self._by_id[id] = stream

        meta = {**params.get("_meta", {}), "window": WINDOW}
        if token is not None:
            self._by_token[token] = stream
            meta["progressToken"] = token
        request = self._connection.request(method, {**params, "_meta": meta}, timeout=timeout, on_id=begun)
        asking = asyncio.ensure_future(request)
        asking.add_done_callback(stream.end)
        used = 0
        try:
            while (note := await stream.next()) is not None:
                yield note
                used += note.method != PROGRESS
                if used >= WINDOW // 2:
                    self._connection.notify(MORE, {"id": stream.id, "count": used})
                    used = 0
            if stream.is_behind:
                raise _behind()
            result = await asking
            yield Raw(b"null") if result is None else result
        finally:
            asking.cancel()
            self._by_token.pop(token, None)  # type: ignore[arg-type]
            if stream.id is not None:
                self._by_id.pop(stream.id, None)
            await asyncio.wait((asking,))
            if not asking.cancelled():
                asking.exception()  # nobody is left to be told


class _Window:
    """How many notifications of a stream the other side takes; ``None``: it does not say."""

    def __init__(self, size: int | None) -> None:
        self._left = size
        self._more = asyncio.Event()

    async def take(self) -> None:
        """Returns when one more may be sent."""
        if self._left is None:
            return
        while self._left == 0:
            self._more.clear()
            await self._more.wait()
        self._left -= 1

    def add(self, count: int) -> None:
        """The other side has used some."""
        if self._left is not None:
            self._left += count
            self._more.set()


class Windows:
    """How much the other side takes of the streams that it asks for, on one connection."""

    def __init__(self) -> None:
        self._by_id: dict[Id, _Window] = {}

    @contextmanager
    def telling(self, connection: Connection, request: Request) -> Iterator[Tell]:
        """Sends the notifications of a request as long as it runs: each returns when there is room for more."""
        window = self._by_id[request.id] = _Window(_size(request))

        async def tell(method: str, params: bytes) -> None:
            await window.take()
            connection.notify(method, params)
            await connection.drained()

        try:
            yield tell
        finally:
            # One that was answered before it has ended leaves its id to another.
            if self._by_id.get(request.id) is window:
                del self._by_id[request.id]

    def heard(self, notification: Notification) -> bool:
        """Takes a notification; whether it was one about windows. One of a stream that has ended is dropped."""
        if notification.method != MORE:
            return False
        try:
            more = _read_more(notification.params or b"{}")
        except msgspec.MsgspecError:
            return True  # nobody can be told
        if (window := self._by_id.get(more.id)) is not None:
            window.add(more.count)
        return True


def _size(request: Request) -> int | None:
    if request.params is None:
        return None
    try:
        return _read_asked(request.params).meta.window
    except msgspec.MsgspecError:
        return None  # whoever reads the params says what is wrong with them


def _behind() -> BridgeError:
    message = f"{MAX_AHEAD} notifications were not read, so no more are kept; read faster, or ask for less"
    return BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="STREAM_BEHIND")

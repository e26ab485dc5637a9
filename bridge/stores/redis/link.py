"""One connection to Redis for any number of callers at once.

Commands go out in the order in which they were asked for, all those of one turn of the event loop together, and nobody
waits for the answers to others: Redis gives them in the same order. So a command costs a fraction of what it does on a
connection that is borrowed for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from bridge.stores.redis.address import Address
from bridge.stores.redis.failures import Refusal, closed, code_of, lost, unreachable

__all__ = ["Lane", "Link", "seen"]

Command = tuple[str | bytes | int, ...]


class Lane:
    """A connection from when it is made until it breaks; then it is of no use any more.

    Args:
        connection: one that is connected.
        shown: where it leads to, for errors.
        timeout: seconds until an answer must have come, or it breaks.
    """

    def __init__(self, connection: AbstractConnection, shown: str, timeout: float) -> None:
        self._connection = connection
        self._shown = shown
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._outbox: list[Command] = []
        self._has_mail = asyncio.Event()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._is_broken = False
        self.on_message: Callable[[list[Any]], None] | None = None
        """Is given what Redis sends of itself, after SUBSCRIBE."""
        self.task = self._loop.create_task(self._run())
        """Ends when the connection is broken."""
        self.task.add_done_callback(lambda _: self._break(None))  # also if it was cancelled before it began

    @property
    def is_broken(self) -> bool:
        """Whether there is no use in it."""
        return self._is_broken

    def ask(self, command: Command) -> asyncio.Future[Any]:
        """Sends a command; the future has the answer, or raises ``Refusal`` or UNAVAILABLE."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._is_broken:
            answer.set_exception(lost(self._shown, None))
        else:
            self._waiting.append((answer, self._loop.time() + self._timeout))
            self.post(command)
        return answer

    def post(self, command: Command) -> None:
        """Sends a command that has no answer of its own."""
        self._outbox.append(command)
        self._has_mail.set()

    def give_up(self) -> None:
        """Breaks it."""
        self.task.cancel()

    async def aclose(self) -> None:
        """Breaks it, and returns when nothing is left of it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._connection.disconnect(nowait=True)

    def _break(self, error: BaseException | None) -> None:
        self._is_broken = True
        for answer, _ in self._waiting:
            if not answer.done():
                answer.set_exception(lost(self._shown, error))
        self._waiting.clear()

    async def _run(self) -> None:
        tasks = [self._loop.create_task(work) for work in (self._write(), self._read(), self._watch())]
        error: BaseException | None = None
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            error = done.pop().exception()
        finally:
            self._break(error)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._connection.disconnect(nowait=True)
        if error is not None and not isinstance(error, RedisError | OSError):
            raise error

    async def _write(self) -> None:
        while True:
            await self._has_mail.wait()
            self._has_mail.clear()
            commands, self._outbox = self._outbox, []
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)

    async def _read(self) -> None:
        while True:
            try:
                reply = await self._connection.read_response(disable_decoding=True)
            except ResponseError as error:
                self._answer(None, Refusal(error))
            except RedisError as error:
                if self._waiting and code_of(error):  # an answer, but one after which redis-py closes the connection
                    self._answer(None, Refusal(error))
                raise
            else:
                if self.on_message is None or reply[0] == b"subscribe":
                    self._answer(reply, None)
                else:
                    self.on_message(reply)

    def _answer(self, reply: Any, error: Exception | None) -> None:
        answer, _ = self._waiting.popleft()
        if answer.done():  # whoever asked has given up
            return
        if error is None:
            answer.set_result(reply)
        else:
            answer.set_exception(error)

    async def _watch(self) -> None:
        """Raises when the oldest question has waited too long."""
        while True:
            left = self._waiting[0][1] - self._loop.time() if self._waiting else self._timeout
            if left <= 0:
                raise TimeoutError
            await asyncio.sleep(left)


class Link:
    """Makes a lane when one is needed, and another after it broke.

    Args:
        address: the server.
        connect_timeout: seconds to make a connection.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, address: Address, *, connect_timeout: float, timeout: float) -> None:
        self._address = address
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._lane: Lane | None = None
        self._connecting: asyncio.Task[Lane] | None = None
        self._is_closed = False

    async def call(self, *command: str | bytes | int) -> Any:
        """The answer to a command. Raises ``Refusal`` or UNAVAILABLE; never sends a command twice."""
        lane = self._lane
        if lane is None or lane.is_broken:
            lane = await self.lane()
        return await lane.ask(command)

    async def lane(self) -> Lane:
        """The lane there is, or one that is made for all who wait for one. Raises UNAVAILABLE."""
        if self._is_closed:
            raise closed()
        if self._lane is not None and not self._lane.is_broken:
            return self._lane
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(seen)
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():  # by aclose
                raise closed() from None
            raise
        except (RedisError, OSError) as error:
            raise unreachable(self._address.shown, error) from error

    def give_up(self) -> None:
        """Breaks the lane; the next who asks makes another."""
        if self._lane is not None:
            self._lane.give_up()

    async def aclose(self) -> None:
        """Breaks what there is, and makes nothing any more."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._lane is not None:
            await self._lane.aclose()

    async def _connect(self) -> Lane:
        connection = self._address.make_connection()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._lane = Lane(connection, self._address.shown, self._timeout)
        return self._lane


def seen(done: asyncio.Future[Any]) -> None:
    """Takes note of an error that nobody may be waiting for any more."""
    if not done.cancelled():
        done.exception()

"""``python client.py SERVER HOST``: a client that does what it is told, and can be killed.

It reads orders, one JSON object a line, and does them at once, beside each other. Each answer is a line, too: the
number of its order with a value, the chunk of a stream (its length, if it is long), or an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from bridge import BridgeError
from bridge_client import BridgeClient


class Client:
    """Obeys.

    Args:
        once: a client that says what it was told.
        again: one that repeats what may be repeated.
    """

    def __init__(self, once: BridgeClient, again: BridgeClient, stack: AsyncExitStack) -> None:
        self.once, self.again = once, again
        self._stack = stack

    async def obey(self, number: int, do: str, **order: Any) -> None:
        try:
            async with asyncio.timeout(30):
                value = await getattr(self, f"do_{do}")(number, **order)
            say(number, value=brief(value))
        except BridgeError as error:
            say(number, error=[error.code.name, error.reason, error.retry_after])

    async def do_call(self, number: int, tool: str, session: str, arguments: dict[str, Any]) -> Any:
        return await self.once.call(tool, arguments, session=session)

    async def do_stream(self, number: int, tool: str, session: str, arguments: dict[str, Any]) -> str:
        async for value in self.once.stream(tool, arguments, session=session):
            say(number, chunk=brief(value))
        return "end"

    async def do_repeat(self, number: int, tool: str) -> Any:
        return await self.again.call(tool)

    async def do_ready(self, number: int) -> None:
        await asyncio.gather(self.once.wait_ready(), self.again.wait_ready())

    async def do_list(self, number: int) -> int:
        return len(await self.again.tools(refresh=True))

    async def do_open(self, number: int) -> str:
        session = await self._stack.enter_async_context(self.again.session())
        return session.session_id

    async def do_set(self, number: int, session: str, name: str, value: Any) -> int:
        async with self.again.session(session_id=session) as opened:
            return await opened.set(name, value)

    async def do_get(self, number: int, session: str, names: list[str]) -> Any:
        async with self.again.session(session_id=session) as opened:
            return await opened.get_many(names)


def brief(value: Any) -> Any:
    return len(value) if isinstance(value, bytes | str) and len(value) > 100 else value


def say(number: int, **fields: Any) -> None:
    print(json.dumps({"number": number, **fields}), flush=True)


async def main(server: str, host: str) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack:
        once = await stack.enter_async_context(BridgeClient(server, host=host, retry=None, breaker=None))
        again = await stack.enter_async_context(BridgeClient(server, host=host))
        client = Client(once, again, stack)
        async with asyncio.TaskGroup() as orders:
            while line := await reader.readline():
                orders.create_task(client.obey(**json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

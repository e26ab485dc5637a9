"""The ways in which a proxy is used, made alike, and the signs that tools and tests give each other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge.worker import ProxyStats, WorkerProxy
from tests.support.waiting import until

__all__ = [
    "WAYS",
    "Awaited",
    "AwaitedElsewhere",
    "Blocking",
    "Files",
    "Start",
    "Way",
    "WriteManifest",
    "comes",
    "killed",
]


class Way:
    """A proxy, used from the event loop of a test."""

    def __init__(self, proxy: WorkerProxy) -> None:
        self.proxy = proxy
        self.caller: Any = proxy
        """What makes the calls."""

    def but(self, **options: Any) -> Way:
        """The same, with other options of calls."""
        other = type(self)(self.proxy)
        other.caller = self.proxy.with_options(**options)
        return other

    async def start(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def call(self, tool: str = "", /, **arguments: Any) -> Any:
        raise NotImplementedError

    async def take(
        self, values: list[Any], tool: str = "", /, *, most: int = 10**9, closing: bool = True, **arguments: Any
    ) -> None:
        """Takes what a stream yields, up to so many values, and leaves it, with or without closing it."""
        raise NotImplementedError

    async def values(self, tool: str = "", /, **arguments: Any) -> list[Any]:
        """What ``take`` takes."""
        values: list[Any] = []
        await self.take(values, tool, **arguments)
        return values

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        """Calls a method that is there twice: to block and to be awaited."""
        raise NotImplementedError

    async def stats(self) -> ProxyStats:
        stats: ProxyStats = await self.ask("stats")
        return stats

    def begin(self, tool: str = "", /, **arguments: Any) -> asyncio.Task[Any]:
        """A call that goes on beside the test."""
        return asyncio.create_task(self.call(tool, **arguments))


class Blocking(Way):
    """By threads that block."""

    async def start(self) -> None:
        await asyncio.to_thread(self.proxy.start)

    async def close(self) -> None:
        await asyncio.to_thread(self.proxy.close)

    async def call(self, tool: str = "", /, **arguments: Any) -> Any:
        return await asyncio.to_thread(self.caller.execute, tool, **arguments)

    async def take(
        self, values: list[Any], tool: str = "", /, *, most: int = 10**9, closing: bool = True, **arguments: Any
    ) -> None:
        def take() -> None:
            stream = self.caller.stream(tool, **arguments)
            for value in stream:
                values.append(value)
                if len(values) == most:
                    break
            if closing:
                stream.close()

        await asyncio.to_thread(take)

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self.proxy, method), *args, **options)


class Awaited(Way):
    """On the event loop that it was started on."""

    async def start(self) -> None:
        await self.proxy.start_async()

    async def close(self) -> None:
        await self.proxy.close_async()

    async def call(self, tool: str = "", /, **arguments: Any) -> Any:
        return await self.caller.execute_async(tool, **arguments)

    async def take(
        self, values: list[Any], tool: str = "", /, *, most: int = 10**9, closing: bool = True, **arguments: Any
    ) -> None:
        stream = self.caller.stream_async(tool, **arguments)
        async for value in stream:
            values.append(value)
            if len(values) == most:
                break
        if closing:
            await stream.aclose()

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        return await getattr(self.proxy, f"{method}_async")(*args, **options)


class AwaitedElsewhere(Awaited):
    """Started for code that blocks, and awaited on another event loop."""

    async def start(self) -> None:
        await asyncio.to_thread(self.proxy.start)


async def comes(way: Way, condition: Callable[[ProxyStats], bool]) -> None:
    """Waits for a state of a plugin."""
    async with asyncio.timeout(10):
        while not condition(await way.stats()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


async def killed(pid: int) -> None:
    """Kills a process, and waits until nothing of it is there."""
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await until(lambda: not Path(f"/proc/{pid}").exists())


WAYS: dict[str, type[Way]] = {"blocking": Blocking, "awaited": Awaited, "elsewhere": AwaitedElsewhere}

Start = Callable[..., Awaitable[Way]]
WriteManifest = Callable[..., dict[str, Any]]


class Files:
    """Files by which tools and tests tell each other how far they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> str:
        return str(self._folder / name)

    async def come(self, name: str) -> None:
        """Waits for one."""
        async with asyncio.timeout(10):
            await until((self._folder / name).exists)

    def has(self, name: str) -> bool:
        """Whether it has come."""
        return (self._folder / name).exists()

    def make(self, name: str) -> None:
        """Lets a tool go on that waits for it."""
        (self._folder / name).touch()

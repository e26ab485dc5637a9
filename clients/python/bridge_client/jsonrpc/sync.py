"""The blocking JSON-RPC client: the asyncio client on a background thread, with the same calls.

Any number of threads may share one client. It does not survive ``fork`` (its thread does not); make one in each
process. A client that was not closed is closed when it is forgotten, or else when the interpreter exits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from bridge_client.blocking import BlockingClient, Session, ToolStream
from bridge_client.jsonrpc import client as aio
from bridge_client.jsonrpc.link import OnNotification, OnRequest
from bridge_client.loop_thread import LoopThread

__all__ = ["Client", "Session", "ToolStream"]

log = logging.getLogger(__name__)


class Client(BlockingClient):
    """A blocking client, used as ``with Client.connect("unix:/path") as client``.

    Options are the keywords of ``bridge_client.jsonrpc.Client``, whose methods have the same names. ``on_request`` is
    called in a thread of its own each time, ``on_notification`` in one thread for all: both may block and use the
    client.
    """

    _client: aio.Client

    @classmethod
    def connect(cls, address: str, **options: Any) -> Self:
        """See ``bridge_client.jsonrpc.Client.connect``."""
        return cls._open(address, partial(aio.Client.connect, address), options)

    @classmethod
    def connect_or_start(cls, address: str, command: Sequence[str], **options: Any) -> Self:
        """See ``bridge_client.jsonrpc.Client.connect_or_start``."""
        return cls._open(address, partial(aio.Client.connect_or_start, address, command), options)

    @classmethod
    def spawn(cls, command: Sequence[str], **options: Any) -> Self:
        """See ``bridge_client.jsonrpc.Client.spawn``."""
        return cls._open(command[0] if command else "", partial(aio.Client.spawn, command), options)

    @classmethod
    def _open(cls, name: str, make: Callable[..., Coroutine[Any, Any, aio.Client]], options: dict[str, Any]) -> Self:
        for option, adapt in (("on_request", _in_a_thread), ("on_notification", _one_after_the_other)):
            if options.get(option) is not None:
                options[option] = adapt(options[option])
        thread = LoopThread(f"bridge-client {name}")
        try:
            client = thread.run(make(**options))
        except BaseException:
            thread.stop(_nothing)
            raise
        self = cls.__new__(cls)
        self._run_by(thread, client)
        return self

    def __repr__(self) -> str:
        return repr(self._client).replace("<Client", "<sync.Client", 1)

    @property
    def name(self) -> str:
        """See ``bridge_client.jsonrpc.Client.name``."""
        return self._client.name

    @property
    def server_output(self) -> str:
        """See ``bridge_client.jsonrpc.Client.server_output``."""
        return self._client.server_output

    @property
    def is_connected(self) -> bool:
        """See ``bridge_client.jsonrpc.Client.is_connected``."""
        return self._client.is_connected

    def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """See ``bridge_client.jsonrpc.Client.request``."""
        return self._thread.run(self._client.request(method, params, timeout=timeout))

    def notify(self, method: str, params: Any = None) -> None:
        """See ``bridge_client.jsonrpc.Client.notify``."""
        self._thread.run(self._client.notify(method, params))


def _in_a_thread(answer: OnRequest) -> OnRequest:
    return lambda method, params: asyncio.to_thread(answer, method, params)


def _one_after_the_other(tell: OnNotification) -> OnNotification:
    def told(method: str, params: Any) -> None:
        try:
            tell(method, params)
        except Exception:  # nobody waits for what it returns
            log.exception("the notification %r failed", method)

    threads = ThreadPoolExecutor(1, "bridge-client-notifications")
    return lambda method, params: threads.submit(told, method, params)


async def _nothing() -> None:
    pass

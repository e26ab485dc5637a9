"""The blocking client: the asyncio client on a background thread, with the same calls.

Any number of threads may share one client. It does not survive ``fork`` (its thread does not); make one in each
process. A client that was not closed is closed when it is forgotten, or else when the interpreter exits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from bridge.client_config import ClientConfig
from bridge_client import client as aio
from bridge_client.blocking import BlockingClient, Session, ToolStream
from bridge_client.breaker import State
from bridge_client.info import ServerInfo
from bridge_client.loop_thread import LoopThread

__all__ = ["BridgeClient", "Session", "ToolStream"]


class BridgeClient(BlockingClient):
    """A blocking client, used as ``with BridgeClient("127.0.0.1:50051") as client``.

    Args:
        target: address of the server.
        options: as for ``bridge_client.BridgeClient``.
    """

    _client: aio.BridgeClient

    def __init__(self, target: str, **options: Any) -> None:
        self._start(aio.BridgeClient(target, **options))

    @classmethod
    def from_config(cls, config: str | Path | ClientConfig, **options: Any) -> Self:
        """See ``bridge_client.BridgeClient.from_config``."""
        self = cls.__new__(cls)
        self._start(aio.BridgeClient.from_config(config, **options))
        return self

    def _start(self, client: aio.BridgeClient) -> None:
        self._run_by(LoopThread(f"bridge-client {client.target}"), client)
        try:
            self._thread.run(client.__aenter__())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return repr(self._client).replace("<BridgeClient", "<sync.BridgeClient", 1)

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

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """See ``bridge_client.BridgeClient.server_info``."""
        return self._thread.run(self._client.server_info(timeout=timeout))

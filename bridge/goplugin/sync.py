"""A host's side of a plugin for code that blocks: the asyncio client on a background thread, with the same calls.

Any number of threads may share one client. It does not survive ``fork``, as its thread does not: in the child its
methods raise, and the end of its ``with`` leaves the plugin to the parent.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from bridge import engines
from bridge.errors import BridgeError
from bridge.goplugin.brokering.blocking import BlockingBroker
from bridge.goplugin.host import client as aio
from bridge.goplugin.host.connection import PluginConnection
from bridge.goplugin.reattach import ReattachConfig
from bridge.runtime.death import Exit
from bridge_client.loop_thread import LoopThread

__all__ = ["PluginClient", "cleanup_clients"]

_managed: weakref.WeakSet[PluginClient] = weakref.WeakSet()


class PluginClient:
    """Runs a plugin: ``with PluginClient(cmd=[…], handshake=…, plugins=…) as client`` starts it, and ends it.

    Plugins' ``client`` gets a ``grpc.Channel`` and a ``BlockingBroker``; sinks are called in the background thread.

    Args:
        settings: as for ``bridge.goplugin.PluginClient``.
    """

    def __init__(self, **settings: Any) -> None:
        self._client = aio.PluginClient(**settings)
        self._thread = LoopThread("goplugin-host")
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._channel: tuple[PluginConnection, Any] | None = None
        """``grpc.Channel`` to the plugin that ran when it was made."""
        # Who forgets `with` leaves no thread and no plugin, at the latest at the end of the process.
        self._finalizer = weakref.finalize(self, self._thread.stop, self._client.kill)
        if settings.get("managed"):
            _managed.add(self)

    def __repr__(self) -> str:
        return repr(self._client).replace("<PluginClient", "<sync.PluginClient", 1)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            return
        self._close_channel()
        try:
            self._thread.run(self._client.__aexit__(kind, error, traceback), to_its_end=True)
        finally:
            self._stop()

    def start(self) -> None:
        """See ``start`` of the asyncio client."""
        self._thread.run(self._client.start())

    def kill(self) -> bool:
        """See ``kill`` of the asyncio client."""
        self._close_channel()
        return self._thread.run(self._client.kill(), to_its_end=True)

    def dispense(self, name: str) -> Any:
        """See ``dispense`` of the asyncio client; a stub is one that blocks."""
        connection = self._thread.run(self._client.living())
        return connection.dispense(name, self._channel_to(connection), connection.broker.blocking)

    def ping(self, timeout: float = aio.PING_TIMEOUT) -> None:
        """See ``ping`` of the asyncio client."""
        self._thread.run(self._client.ping(timeout))

    def explained(self, error: Exception) -> Exception:
        """See ``explained`` of the asyncio client."""
        return self._thread.run(self._client.explained(error))

    @property
    def channel(self) -> Any:
        """``grpc.Channel`` to the plugin. Raises ``BridgeError``."""
        return self._channel_to(self._thread.run(self._client.living()))

    @property
    def target(self) -> str:
        """See ``target`` of the asyncio client."""
        return self._client.target

    @property
    def broker(self) -> BlockingBroker:
        """See ``broker`` of the asyncio client."""
        return self._client.broker.blocking

    @property
    def protocol_version(self) -> int:
        """See ``protocol_version`` of the asyncio client."""
        return self._client.protocol_version

    @property
    def pid(self) -> int:
        """See ``pid`` of the asyncio client."""
        return self._client.pid

    @property
    def is_running(self) -> bool:
        """See ``is_running`` of the asyncio client."""
        return self._client.is_running

    @property
    def exited(self) -> Exit | None:
        """See ``exited`` of the asyncio client."""
        return self._client.exited

    @property
    def reattach_config(self) -> ReattachConfig:
        """See ``reattach_config`` of the asyncio client."""
        return self._client.reattach_config

    @property
    def on_restart(self) -> Callable[[aio.PluginClient], object]:
        """See ``on_restart`` of the asyncio client; it is called in the background thread."""
        return self._client.on_restart

    @on_restart.setter
    def on_restart(self, function: Callable[[aio.PluginClient], object]) -> None:
        self._client.on_restart = function

    def _channel_to(self, connection: PluginConnection) -> Any:
        with self._lock:
            if self._channel is None or self._channel[0] is not connection:
                if self._channel is not None:
                    self._channel[1].close()
                made = engines.connect_blocking(connection.target, connection.channel_options)
                self._channel = (connection, made)
            return self._channel[1]

    def _close_channel(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel[1].close()

    def _stop(self) -> None:
        self._close_channel()
        self._finalizer()


def cleanup_clients() -> None:
    """Ends the plugins of all clients of this module with ``managed=True``, one after the other."""
    for client in list(_managed):
        with suppress(BridgeError):  # it is closed, or that of a parent
            client.kill()

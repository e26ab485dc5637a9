"""What a server has besides when it speaks Snakepit's wire."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from bridge.config import ServerConfig
from bridge.dispatcher import Dispatcher
from bridge.engines.base import Method
from bridge.frontends.snakepit import SnakepitFrontend
from bridge.frontends.snakepit_relay import relay_methods
from bridge.frontends.thread_sensitive import ThreadSensitive
from bridge.host import Host
from bridge.interceptors import Interceptor
from bridge.registry import Registry
from bridge.snakepit.sessions import Sessions
from bridge.snakepit.telemetry import TelemetrySource
from bridge.snakepit.telemetry_relay import collecting
from bridge.snakepit.values import ResultRules

if TYPE_CHECKING:
    from bridge.hosts.sessions import SessionHost

__all__ = ["SnakepitParts"]


class SnakepitParts:
    """A worker of a pool, or the host of workers, in a server's parts.

    Args:
        config: the server's.
        role: a ``"bridge"`` is a worker, a ``"host"`` what a BEAM is to workers.
    """

    def __init__(self, config: ServerConfig, role: Literal["bridge", "host"]) -> None:
        self._config = config
        self._telemetry = TelemetrySource() if role == "bridge" else None
        self.sessions = Sessions()
        """Those that a pool has told a worker of."""
        self._collecting = ExitStack()

    def start(self) -> None:
        """Takes the events that adapters make, in worker processes, too."""
        if self._telemetry is not None:
            self._collecting.enter_context(collecting(self._telemetry.emit))

    def stop(self) -> None:
        """Ends what has no end of its own; once more does no harm."""
        if self._telemetry is not None:
            self._telemetry.close()
        self._collecting.close()

    def interceptors(self) -> tuple[Interceptor, ...]:
        """Those that make events of calls."""
        return () if self._telemetry is None else (self._telemetry,)

    def methods(
        self,
        dispatcher: Dispatcher,
        registry: Registry,
        own: Host,
        sessions: SessionHost | None,
        host: Host,
        on_response: Callable[[str, int], None] | None,
    ) -> list[Method]:
        """The methods for an engine.

        Args:
            dispatcher: runs the calls.
            registry: the tools.
            own: the server's host.
            sessions: the same, if it keeps the sessions itself.
            host: the same as tools see it.
            on_response: told the tool and the bytes of each response message.
        """
        limit = self._config.max_message_bytes
        if self._telemetry is None:
            if sessions is None:
                return []
            from bridge.frontends.snakepit_host import snakepit_host_methods  # of no use to a worker

            return snakepit_host_methods(sessions, dispatcher, registry, max_message_bytes=limit)
        frontend = SnakepitFrontend(
            dispatcher,
            registry,
            host,
            rules=ResultRules(self._config.snakepit_results),
            thread_sensitive=ThreadSensitive(self._config.snakepit_thread_sensitive),
            max_message_bytes=limit,
            on_response=on_response,
            on_result=self._telemetry.result_size,
            sessions=self.sessions,
        )
        return [*frontend.methods(), *relay_methods(own), *self._telemetry.methods()]

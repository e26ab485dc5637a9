"""A worker's only client: Elixir's, which sends bytes over a plain channel and has its own way to read the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from bridge.config import ServerConfig
from bridge.host import Host
from bridge.server import Server, run_server
from bridge.snakepit import SERVICE
from tests.snakepit.elixir_bytes import execute_request
from tests.snakepit.elixir_reading import read_answer, read_chunk

__all__ = ["CORRELATION", "CORRELATION_ID", "SESSION", "ElixirClient", "calling", "serving_worker"]

SESSION = "session_4242_1767225600000000"
"""The worker's own, in which all calls of a pool are."""
CORRELATION_ID = "sp-0123456789abcdef01234567"
CORRELATION = "x-snakepit-correlation-id"

_METADATA = {
    "correlation_id": CORRELATION_ID,
    "python_platform": "x86_64-linux-gnu",
    "python_runtime_hash": "5f70bf18a086007016e948b04aed3b82",
    "python_version": "3.11.2",
}
"""What comes with every call."""


class ElixirClient:
    """Calls a worker.

    Args:
        channel: a plain one, as wide as Elixir's, which takes answers of any size.
    """

    server: Server
    """The worker, if it is in this process."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def exchange(
        self, method: str, request: bytes, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> bytes:
        """Sends a request and returns the answer. Raises ``grpc.aio.AioRpcError``."""
        rpc = self.channel.unary_unary(SERVICE + method)
        answer: bytes = await rpc(request, metadata=_sent(headers, timeout))
        return answer

    async def execute(
        self, tool: str, parameters: Mapping[str, Any] | None = None, *, timeout: float | None = None, **options: Any
    ) -> tuple[Any, ...]:
        """Calls a tool; ``("ok", value)`` or ``("error", reason)``. Further options are of ``execute_request``."""
        headers = {CORRELATION: CORRELATION_ID}
        return read_answer(await self.exchange("ExecuteTool", _call(tool, parameters, options), headers, timeout))

    async def value(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The value of a call that goes well."""
        verdict, value = await self.execute(tool, parameters, **options)
        assert verdict == "ok", value
        return value

    async def failure(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The reason of a call that fails."""
        verdict, reason = await self.execute(tool, parameters, **options)
        assert verdict == "error", reason
        return reason

    def start_stream(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Begins to call a tool that streams: the RPC, to be iterated over for bytes."""
        timeout = options.pop("timeout", None)
        request = _call(tool, parameters, {**options, "stream": True})
        rpc = self.channel.unary_stream(SERVICE + "ExecuteStreamingTool")
        return rpc(request, metadata=_sent({CORRELATION: CORRELATION_ID}, timeout))

    async def stream(
        self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Calls a tool that streams; what the callback gets."""
        return [read_chunk(data) async for data in self.start_stream(tool, parameters, **options)]


def _call(tool: str, parameters: Mapping[str, Any] | None, options: Mapping[str, Any]) -> bytes:
    metadata = {**_METADATA, **(options.get("metadata") or {})}
    return execute_request(tool, parameters or {}, **{"session_id": SESSION, **options, "metadata": metadata})


def _sent(headers: Mapping[str, str] | None, timeout: float | None) -> tuple[tuple[str, str], ...]:
    """Metadata. A deadline is that of the header only, as Elixir's own timer goes twice as far."""
    sent = tuple((headers or {}).items())
    return sent if timeout is None else (*sent, ("grpc-timeout", f"{round(timeout * 1000)}m"))


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[ElixirClient]:
    """Elixir's connection to a worker."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield ElixirClient(channel)


@asynccontextmanager
async def serving_worker(*adapters: type, host: Host | None = None, **settings: Any) -> AsyncIterator[ElixirClient]:
    """A server as a worker of a pool, and Elixir's connection to it; both are gone when the block ends."""
    usual = {"listen": ("127.0.0.1:0",), "snakepit": True, "log_level": "error", "grace": 2.0}
    async with (
        run_server(ServerConfig(**{**usual, **settings}), adapters, host=host) as server,
        calling(server.addresses[0]) as elixir,
    ):
        elixir.server = server
        yield elixir

"""A server without a network, and time without waiting, for the client's decisions."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bridge import codec
from bridge.call import NO_VALUE
from bridge.engines.base import ChannelOptions
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.v1 import bridge_pb2
from bridge_client import BridgeClient
from bridge_client.retry import Timing

T = TypeVar("T")

NOT_CONNECTED = BridgeError(Code.UNAVAILABLE, "nobody answers", reason="NOT_CONNECTED")
LOST = BridgeError(Code.UNAVAILABLE, "the connection broke")


def busy(retry_after: float = 0.5) -> BridgeError:
    """What a server says that did not start a call."""
    details = ErrorDetails(retry_after=retry_after)
    return BridgeError(Code.RESOURCE_EXHAUSTED, "too many calls", reason="SERVER_BUSY", details=details)


class ManualTime:
    """A clock that moves when somebody sleeps, and chance from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.random = random.Random(seed)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep, random=self.random.random)


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never really waits, without an event loop: thousands a second."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waited for something")


def result(value: object) -> bytes:
    """An ExecuteToolResponse."""
    response = bridge_pb2.ExecuteToolResponse()
    codec.encode(value, response.result)
    return response.SerializeToString()


def chunk(sequence: int, value: Any = NO_VALUE, *, final: bool = False, progress: float | None = None) -> bytes:
    """A ToolChunk."""
    message = bridge_pb2.ToolChunk(sequence=sequence, is_final=final)
    if value is not NO_VALUE:
        codec.encode(value, message.value)
    if progress is not None:
        message.progress.fraction = progress
    return message.SerializeToString()


Outcome = bytes | BridgeError | list[bytes | BridgeError] | Callable[[bytes], bytes]


@dataclass(slots=True)
class Call:
    """What the server saw of a call."""

    path: str
    request: bytes
    headers: dict[str, str]
    timeout: float | None

    @property
    def method(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def message(self) -> bridge_pb2.ExecuteToolRequest:
        return bridge_pb2.ExecuteToolRequest.FromString(self.request)


@dataclass
class MemoryServer:
    """Answers calls of tools with the outcomes it was given, in order, and then with the last one for ever."""

    outcomes: deque[Outcome] = field(default_factory=deque)
    tools: list[bridge_pb2.ToolSpec] = field(default_factory=list)
    list_tools: deque[BridgeError] = field(default_factory=deque)
    """Failures of ListTools before it works."""
    calls: list[Call] = field(default_factory=list)
    etag: str = "1"
    closed: int = 0
    on_call: Callable[[Call], object] = lambda call: None

    @property
    def executed(self) -> int:
        return sum(call.method.startswith("Execute") for call in self.calls)

    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    def connect(self, target: str, options: ChannelOptions) -> MemoryChannel:
        return MemoryChannel(self)

    def client(self, time: ManualTime | None = None, **options: Any) -> BridgeClient:
        if time is not None:
            options["timing"] = time.timing()
        return BridgeClient("memory:1", connect=self.connect, **options)

    def answer(self, call: Call) -> Outcome:
        self.calls.append(call)
        self.on_call(call)
        if call.method == "ListTools":
            if self.list_tools:
                return self.list_tools.popleft()
            return bridge_pb2.ListToolsResponse(tools=self.tools, etag=self.etag).SerializeToString()
        if call.method == "GetServerInfo":
            return bridge_pb2.GetServerInfoResponse(name="memory").SerializeToString()
        return self.outcomes.popleft() if len(self.outcomes) > 1 else self.outcomes[0]


class MemoryChannel:
    """A ``Channel`` to a ``MemoryServer``."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        outcome = self._server.answer(Call(path, request, dict(headers), timeout))
        if isinstance(outcome, BridgeError):
            raise outcome
        if callable(outcome):
            return outcome(request)
        assert isinstance(outcome, bytes)
        return outcome

    async def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncIterator[bytes]:
        outcome = self._server.answer(Call(path, request, dict(headers), timeout))
        try:
            for item in outcome if isinstance(outcome, list) else [outcome]:
                if isinstance(item, BridgeError):
                    raise item
                assert isinstance(item, bytes)
                yield item
        finally:
            self._server.closed += 1

    async def ready(self) -> None:
        return

    async def aclose(self) -> None:
        return

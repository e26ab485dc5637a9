"""One worker of a fake BEAM, as its process in the BEAM sees it: an Erlang port and a gRPC connection."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bridge.runtime.death import kill_group
from bridge.snakepit import SERVICE, messages
from tests.snakepit.elixir_listener import STRING_VALUE
from tests.support.waiting import until

__all__ = ["PoolWorker", "PythonError", "StartFailed"]

STOP_TIMEOUT = 6.0
"""Seconds from SIGTERM to SIGKILL."""
CALL_TIMEOUT = 298.8
"""Seconds of a call for which nobody has said otherwise."""
LIMIT = 30.0
"""Seconds that nothing takes, however slow the machine is."""


class StartFailed(Exception):
    """A worker has ended before it was ready.

    Args:
        status: how.
        output: what it had printed.
    """

    def __init__(self, status: int, output: str) -> None:
        super().__init__(f"exit status {status}: {output}")
        self.status, self.output = status, output


class PythonError(Exception):
    """What Elixir makes of ``success = false``.

    Args:
        payload: the JSON of it; ``message`` only, where it is none.
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        super().__init__(f"{payload.get('type')}: {payload['message']}")
        self.payload = payload


class PoolWorker:
    """A worker.

    Args:
        setup: the process that has started it.
        control: the way to that.
        ready_file: where its port will be.
    """

    def __init__(self, setup: subprocess.Popen[bytes], control: socket.socket, ready_file: Path) -> None:
        self.ready_file = ready_file
        self.pid = self.port = 0
        self.leads_group = False
        """What decides whether the group is stopped or the process."""
        self.session_id = f"session_{secrets.randbelow(10**6)}_{time.time_ns() // 1000}"
        self.telemetry_ended: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()
        """Set when the stream of telemetry is over."""
        self.killed_by: str = ""
        """Why it was killed, if that is because of a heartbeat."""
        self._setup, self._control = setup, control
        self._output = bytearray()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._channel: grpc.aio.Channel | None = None
        assert setup.stdin is not None
        assert setup.stdout is not None
        self._stdin, self._stdout = setup.stdin, setup.stdout
        os.set_blocking(self._stdout.fileno(), False)

    # -- the port ------------------------------------------------------------------------------------------------

    async def begun(self) -> None:
        """Returns when the process is there."""
        self._control.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=self._control)
        async with asyncio.timeout(LIMIT):
            self.pid = int(await reader.readline())
        self._tasks.append(asyncio.create_task(self._await_status(reader)))
        asyncio.get_running_loop().add_reader(self._stdout, self._read_output)

    async def _await_status(self, reader: asyncio.StreamReader) -> None:
        line = await reader.readline()
        self._status.set_result(int(line or -1))

    def _read_output(self) -> None:
        data = self._stdout.read()
        if data:
            self._output += data
        elif data == b"":
            asyncio.get_running_loop().remove_reader(self._stdout)

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.decode()

    async def exit_status(self) -> int:
        """Waits for its end: the exit code, or the signal that has killed it, negative."""
        async with asyncio.timeout(LIMIT):
            return await asyncio.shield(self._status)

    async def wait_ready(self, timeout: float) -> None:
        """Waits for the ready file, as often as the pool looks. Raises ``StartFailed``."""
        async with asyncio.timeout(timeout):
            while not (text := self._ready_text()).isdigit():
                done, _ = await asyncio.wait([self._status], timeout=0.05)
                if done:
                    raise StartFailed(self._status.result(), self.output)
        self.port = int(text)
        self.leads_group = os.getpgid(self.pid) == self.pid
        self.ready_file.unlink()

    def _ready_text(self) -> str:
        return self.ready_file.read_text().strip() if self.ready_file.exists() else ""

    def close_stdin(self) -> None:
        """What the end of the port does, before anything is killed."""
        self._stdin.close()

    def kill_parent(self) -> None:
        """Kills the process that has started it; how it ends itself is not told any more."""
        self._setup.kill()

    def signal(self, number: int) -> None:
        """As the pool does: to the group, if it leads one."""
        if self.leads_group:
            kill_group(self.pid, number)
        else:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL after 6 s; how it has ended."""
        if not self._status.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait([self._status], timeout=STOP_TIMEOUT)
            if not self._status.done():
                self.signal(signal.SIGKILL)
        status = await self.exit_status()
        if not self._stdout.closed:
            await self._close()
        return status

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if self._channel is not None:
            await self._channel.close()
        self._read_output()
        asyncio.get_running_loop().remove_reader(self._stdout)
        self._writer.close()
        await self._writer.wait_closed()
        self._stdin.close()
        self._stdout.close()
        self._setup.wait(LIMIT)

    # -- the connection ------------------------------------------------------------------------------------------

    async def connect(self, heartbeat: Mapping[str, Any], *, beats: bool = True) -> None:
        """What the pool does before it gives the worker its first call."""
        self._channel = grpc.aio.insecure_channel(f"localhost:{self.port}", [("grpc.max_receive_message_length", -1)])
        for attempt in range(5):
            try:
                await self.ping("connection_test")
                break
            except grpc.aio.AioRpcError:
                if attempt == 4:
                    raise
                await asyncio.sleep(0.05 * 2**attempt)
        await self.call(
            "InitializeSession",
            messages.InitializeSessionRequest(
                session_id=self.session_id,
                metadata={"elixir_node": "nonode@nohost", "initialized_at": "2026-02-06T00:00:00Z"},
                config=messages.SessionConfig(enable_caching=True, cache_ttl_seconds=60),
            ),
            messages.InitializeSessionResponse,
        )
        self._tasks.append(asyncio.create_task(self._receive_telemetry()))
        if heartbeat["enabled"] and beats:
            self._tasks.append(asyncio.create_task(self._beat(heartbeat)))

    async def call(self, method: str, request: Any, kind: Any, timeout: float | None = 10.0, **headers: str) -> Any:
        """Sends a request and reads the answer."""
        assert self._channel is not None
        rpc = self._channel.unary_unary(SERVICE + method)
        answer = await rpc(request.SerializeToString(), timeout=timeout, metadata=tuple(headers.items()) or None)
        return kind.FromString(answer)

    async def ping(self, message: str) -> str:
        """Pings it; the answer."""
        answer = await self.call("Ping", messages.PingRequest(message=message), messages.PingResponse, 5.0)
        return str(answer.message)

    async def execute(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Calls a tool; what Elixir's caller gets. One call at a time, as a worker's process in the BEAM has it.

        Args:
            options: ``timeout``, ``binary`` (parameters), ``metadata``.

        Raises ``PythonError``, or ``grpc.aio.AioRpcError`` for a status.
        """
        async with self._turn:
            timeout = options.pop("timeout", CALL_TIMEOUT)
            request, header = self._request(tool, parameters or {}, **options)
            response = await self.call("ExecuteTool", request, messages.ExecuteToolResponse, timeout, **header)
        if not response.success:
            raise PythonError(_payload(response.error_message))
        result = _decoded(response.result.value)
        if response.binary_result:
            return (response.binary_result, result) if result else response.binary_result
        return result

    async def begin(self, tool: str, sign: Path) -> asyncio.Task[Any]:
        """Begins to call a tool, and returns the call when it runs: it makes the sign."""
        calling = asyncio.create_task(self.execute(tool, {"sign": str(sign)}))
        async with asyncio.timeout(LIMIT):
            await until(lambda: sign.exists() or calling.done())
        return calling

    async def stream(
        self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Calls a tool that streams; what Elixir's callback gets."""
        assert self._channel is not None
        async with self._turn:
            timeout = options.pop("timeout", 900.0)
            request, header = self._request(tool, parameters or {}, **options)
            request.stream = True
            rpc = self._channel.unary_stream(SERVICE + "ExecuteStreamingTool")
            async for data in rpc(request.SerializeToString(), timeout=timeout, metadata=tuple(header.items())):
                yield _chunk(messages.ToolChunk.FromString(data))

    def _request(
        self,
        tool: str,
        parameters: Mapping[str, Any],
        *,
        binary: Mapping[str, bytes] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Any, dict[str, str]]:
        correlation = f"sp-{secrets.token_hex(12)}"
        request = messages.ExecuteToolRequest(
            session_id=self.session_id,
            tool_name=tool,
            metadata={"correlation_id": correlation, **(metadata or {})},
            binary_parameters=dict(binary or {}),
        )
        for name, value in parameters.items():
            packed = request.parameters[name]
            packed.type_url, packed.value = STRING_VALUE, json.dumps(value).encode()
        return request, {"x-snakepit-correlation-id": correlation}

    async def _receive_telemetry(self) -> None:
        """The stream that the pool opens with a deadline it does not mean."""
        assert self._channel is not None
        rpc = self._channel.stream_stream(SERVICE + "StreamTelemetry")(timeout=5.0)
        toggle = messages.TelemetryControl(toggle=messages.TelemetryToggle(enabled=True))
        try:
            await rpc.write(toggle.SerializeToString())
            await rpc.initial_metadata()
            async for _ in rpc:
                pass
            code = await rpc.code()
        except grpc.aio.AioRpcError as error:
            code = error.code()
        self.telemetry_ended.set_result(code)

    async def _beat(self, settings: Mapping[str, Any]) -> None:
        await asyncio.sleep(settings["initial_delay_ms"] / 1000)
        request = messages.HeartbeatRequest(session_id=self.session_id)
        while True:
            try:
                answer = await self.call(
                    "Heartbeat", request, messages.HeartbeatResponse, (settings["timeout_ms"] - 1) / 1000
                )
                problem = "" if answer.session_valid else "the session is not valid"
            except grpc.aio.AioRpcError as error:
                problem = f"{error.code().name}: {error.details()}"
            if problem and settings["dependent"] and not self._status.done():
                # max_missed has no say in it.
                self.killed_by = problem
                self.signal(signal.SIGKILL)
                return
            await asyncio.sleep(settings["interval_ms"] / 1000)


def _payload(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    return document if isinstance(document, dict) and "type" in document else {"message": text}


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data


def _chunk(chunk: Any) -> dict[str, Any]:
    value = _decoded(chunk.data) if chunk.data else {}
    if isinstance(value, bytes):
        value = {"raw": value}
    about = {"is_final": chunk.is_final, "_metadata": dict(chunk.metadata)}
    return (value if isinstance(value, dict) else {"data": value}) | about

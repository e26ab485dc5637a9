"""What hosts in Python have in common that do what they read from stdin, as host/main.go does. Imports gRPC only."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tests.goplugin.proto import kv_pb2, kv_pb2_grpc, probe_pb2, probe_pb2_grpc

__all__ = ["Arguments", "PythonHost", "obey"]

Arguments = dict[str, Any]
"""Of a step, as host/steps.go has them; bytes are base64."""

_HEALTH = "/grpc.health.v1.Health/Check"
_PLUGIN, _SERVING = b"\x0a\x06plugin", b"\x08\x01"
"""Request and response of health, on the wire."""
_LONGEST = 1 << 28
"""Bytes of a step."""


class PythonHost:
    """One plugin, which the first step starts. A step is a method that is no ``_name``; more come with each host."""

    async def _channel(self) -> grpc.aio.Channel:
        """Of the running plugin."""
        raise NotImplementedError

    async def ping(self, arguments: Arguments) -> None:
        """Asks for the health of "plugin"."""
        channel = await self._channel()
        status = await channel.unary_unary(_HEALTH)(_PLUGIN)
        if status != _SERVING:
            raise ValueError(f"not serving: {status!r}")

    async def put(self, arguments: Arguments) -> None:
        """Of the KV service."""
        stub = kv_pb2_grpc.KVStub(await self._channel())  # type: ignore[no-untyped-call]
        await stub.Put(kv_pb2.PutRequest(key=arguments["key"], value=base64.b64decode(arguments["value"])))

    async def get(self, arguments: Arguments) -> str:
        """Of the KV service."""
        stub = kv_pb2_grpc.KVStub(await self._channel())  # type: ignore[no-untyped-call]
        response = await stub.Get(kv_pb2.GetRequest(key=arguments["key"]))
        return base64.b64encode(response.value).decode()

    async def big(self, arguments: Arguments) -> int:
        """Puts a value of that size and gets it back."""
        stub = kv_pb2_grpc.KVStub(await self._channel())  # type: ignore[no-untyped-call]
        value = b"big " * (arguments["size"] // 4)
        await stub.Put(kv_pb2.PutRequest(key="big", value=value))
        response = await stub.Get(kv_pb2.GetRequest(key="big"))
        if response.value != value:
            raise ValueError("other bytes came back")
        return len(value)

    async def stream(self, arguments: Arguments) -> int:
        """How many chunks the plugin sends, each the one that is expected."""
        stub = probe_pb2_grpc.StreamerStub(await self._channel())  # type: ignore[no-untyped-call]
        size, number = arguments["size"], 0
        async for chunk in stub.Count(probe_pb2.CountRequest(chunks=arguments["times"], chunk_bytes=size)):
            if chunk.data != str(number).encode().ljust(size, b"."):
                raise ValueError(f"chunk {number} is another")
            number += 1
        return number

    async def print(self, arguments: Arguments) -> None:
        """Has the plugin print."""
        stub = probe_pb2_grpc.ProbeStub(await self._channel())  # type: ignore[no-untyped-call]
        stdout, stderr = (base64.b64decode(arguments[name]) for name in ("stdout", "stderr"))
        await stub.Print(probe_pb2.PrintRequest(stdout=stdout, stderr=stderr, times=arguments["times"]))

    async def leave(self, arguments: Arguments) -> None:
        """Ends the host, and kills nothing."""
        os._exit(0)


async def obey(host: PythonHost) -> None:
    """Does what comes from stdin until that ends; the plugin does not get it."""
    steps = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    reader = asyncio.StreamReader(limit=_LONGEST)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), steps)
    running = set()
    async for line in reader:
        running.add(asyncio.create_task(_answer(host, line)))
    os._exit(0)


async def _answer(host: PythonHost, line: bytes) -> None:
    """Does a step."""
    arguments = json.loads(line)
    begun = time.monotonic()
    outcome: dict[str, Any] = {"id": arguments["id"]}
    try:
        outcome["result"] = await _step(host, arguments["do"])(arguments)
    except grpc.aio.AioRpcError as error:
        code = "".join(word.capitalize() for word in error.code().name.split("_"))
        outcome["error"] = {"text": str(error), "code": code, "message": error.details()}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        outcome["error"] = {"text": f"{type(error).__name__}: {error}"}
    print(json.dumps({**outcome, "seconds": time.monotonic() - begun}), flush=True)


def _step(host: PythonHost, name: str) -> Callable[[Arguments], Awaitable[Any]]:
    step: Callable[[Arguments], Awaitable[Any]] | None = None if name.startswith("_") else getattr(host, name, None)
    if step is None:
        raise NotImplementedError(f"this host has no step {name!r}")
    return step

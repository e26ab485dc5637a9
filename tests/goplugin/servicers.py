"""The services of proto/ for any server of grpc.aio, whatever installed it. Imports gRPC only."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from tests.goplugin.proto import (
    counter_pb2,
    counter_pb2_grpc,
    kv_pb2,
    kv_pb2_grpc,
    probe_pb2,
    probe_pb2_grpc,
)

__all__ = ["KV", "AddHelper", "Probe", "Streamer"]


class KV(kv_pb2_grpc.KVServicer):
    """Remembers values until the process ends."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def Get(self, request: kv_pb2.GetRequest, context: Any) -> kv_pb2.GetResponse:
        """NOT_FOUND for a key without a value."""
        if request.key not in self.values:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'no value for "{request.key}"')
        return kv_pb2.GetResponse(value=self.values[request.key])

    async def Put(self, request: kv_pb2.PutRequest, context: Any) -> kv_pb2.Empty:
        """Replaces what was there."""
        self.values[request.key] = request.value
        return kv_pb2.Empty()


class AddHelper(counter_pb2_grpc.AddHelperServicer):
    """Adds, and counts how often it has done so."""

    def __init__(self) -> None:
        self.calls = 0

    async def Sum(self, request: counter_pb2.SumRequest, context: Any) -> counter_pb2.SumResponse:
        """The service's one call."""
        self.calls += 1
        return counter_pb2.SumResponse(r=request.a + request.b)


class Streamer(probe_pb2_grpc.StreamerServicer):
    """All shapes of calls."""

    async def Echo(self, request: probe_pb2.Chunk, context: Any) -> probe_pb2.Chunk:
        """The same again."""
        return request

    async def Count(self, request: probe_pb2.CountRequest, context: Any) -> AsyncIterator[probe_pb2.Chunk]:
        """Numbers, filled up with dots."""
        for number in range(request.chunks):
            yield probe_pb2.Chunk(data=b"%d" % number + b"." * (request.chunk_bytes - len(str(number))))

    async def Collect(self, requests: AsyncIterator[probe_pb2.Chunk], context: Any) -> probe_pb2.Summary:
        """How much came."""
        sizes = [len(chunk.data) async for chunk in requests]
        return probe_pb2.Summary(chunks=len(sizes), bytes=sum(sizes))

    async def Chat(self, requests: AsyncIterator[probe_pb2.Chunk], context: Any) -> AsyncIterator[probe_pb2.Chunk]:
        """Each chunk at once."""
        async for chunk in requests:
            yield chunk


class Probe(probe_pb2_grpc.ProbeServicer):
    """All but the one call that needs a broker."""

    def __init__(self, app_version: int = 0) -> None:
        self.app_version = app_version
        self.hanging = 0
        self.logger = logging.getLogger("probe")

    async def Info(self, request: probe_pb2.InfoRequest, context: Any) -> probe_pb2.InfoResponse:
        """What this process sees."""
        return probe_pb2.InfoResponse(
            pid=os.getpid(),
            language="python",
            arguments=sys.argv,
            folder=str(Path.cwd()),
            environment=os.environ,
            hanging=self.hanging,
            app_version=self.app_version,
        )

    async def Print(self, request: probe_pb2.PrintRequest, context: Any) -> probe_pb2.PrintResponse:
        """In a thread: who prints may have to wait for who reads."""

        def write() -> None:
            for _ in range(max(1, request.times)):
                for stream, data in ((sys.stdout.buffer, request.stdout), (sys.stderr.buffer, request.stderr)):
                    stream.write(data)
                    stream.flush()

        await asyncio.to_thread(write)
        return probe_pb2.PrintResponse()

    async def Log(self, request: probe_pb2.LogRequest, context: Any) -> probe_pb2.LogResponse:
        """Level trace is 5; pairs are attributes of the record."""
        level = {"trace": 5, "warn": logging.WARNING}.get(request.level) or getattr(logging, request.level.upper())
        self.logger.log(level, request.message, extra=dict(request.pairs))
        return probe_pb2.LogResponse()

    async def Hang(self, request: probe_pb2.HangRequest, context: Any) -> probe_pb2.HangResponse:
        """Until the call is cancelled."""
        self.hanging += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.hanging -= 1
        return probe_pb2.HangResponse()

    async def Panic(self, request: probe_pb2.PanicRequest, context: Any) -> probe_pb2.PanicResponse:
        """Says so on the descriptor of stderr, and ends with code 2 as Go does."""
        os.write(2, f"panic: {request.message}\n".encode())
        os._exit(2)

    async def Exit(self, request: probe_pb2.ExitRequest, context: Any) -> probe_pb2.ExitResponse:
        """At once."""
        os._exit(request.code)

"""One client process that makes calls and prints what they cost it. ``python -m bench.client_load KIND ADDRESS N C``.

KIND is ``raw`` (generated stub on grpc.aio) or ``bridge`` (BridgeClient).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from bench.cases import TEXT

Once = Callable[[], Awaitable[None]]


async def _raw(address: str, run: Callable[[Once], Awaitable[None]]) -> None:
    import grpc.aio

    from bench.calls import decode, request
    from bridge.v1 import bridge_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        stub = bridge_pb2_grpc.BridgeServiceStub(channel)  # type: ignore[no-untyped-call]

        async def once() -> None:
            reply = await stub.ExecuteTool(request("echo", {"text": TEXT, "top": 3}), timeout=30)
            if decode(reply.result) != {"text": TEXT, "top": 3}:
                raise SystemExit("wrong reply")

        await run(once)


async def _bridge(address: str, run: Callable[[Once], Awaitable[None]]) -> None:
    from bridge_client import BridgeClient

    async with BridgeClient(address) as client:

        async def once() -> None:
            if await client.call("echo", text=TEXT, top=3, timeout=30) != {"text": TEXT, "top": 3}:
                raise SystemExit("wrong reply")

        await run(once)


async def _main(kind: str, address: str, calls: int, in_flight: int) -> None:
    async def run(once: Once) -> None:
        async def lane(count: int) -> None:
            for _ in range(count):
                await once()

        await asyncio.gather(*(lane(20) for _ in range(in_flight)))
        cpu, began = time.process_time_ns(), time.perf_counter()
        await asyncio.gather(*(lane(calls // in_flight) for _ in range(in_flight)))
        seconds, used = time.perf_counter() - began, time.process_time_ns() - cpu
        print(json.dumps({"calls": calls // in_flight * in_flight, "seconds": seconds, "cpu": used}))

    await (_raw if kind == "raw" else _bridge)(address, run)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

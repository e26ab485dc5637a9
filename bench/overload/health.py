"""Health checks at a steady pace: ``python -m bench.overload.health ADDRESS SECONDS`` prints JSON.

Each has its time to begin, whether the one before was answered or not, so that a wait is seen by all that it hits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from grpc_health.v1.health_pb2 import HealthCheckResponse

from bench.overload.figures import percentile
from bridge import engines

PAUSE = 0.02


async def main(address: str, seconds: float) -> None:
    """Asks, and prints how long the answers took."""
    channel = engines.connect(address)
    await channel.ready()
    taken: list[float] = []

    async def ask(due: float) -> None:
        answer = await channel.unary("/grpc.health.v1.Health/Check", b"", timeout=10.0)
        if HealthCheckResponse.FromString(answer).status != HealthCheckResponse.SERVING:
            raise SystemExit("the server says that it is not serving")
        taken.append(time.perf_counter() - due)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as checks:
        for number in range(int(seconds / PAUSE)):
            due = began + number * PAUSE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            checks.create_task(ask(due))
    await channel.aclose()
    print(json.dumps({"p50": percentile(taken, 50), "p99": percentile(taken, 99), "worst": max(taken)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))

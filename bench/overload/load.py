"""Clients in a closed loop: ``python -m bench.overload.load ADDRESS CLIENTS SECONDS HOW`` prints JSON.

Each calls again when it has an answer. HOW says what it does when it is refused: ``waits`` as long as it is told, or
asks again ``at_once``. An answer is good if it comes within two seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter

from bench.overload.figures import percentile
from bridge import BridgeError
from bridge_client import BridgeClient

ROUNDS = 80_000
"""Of the tool: some milliseconds."""
TIMEOUT = 2.0
"""Seconds after which nobody is interested in an answer any more."""
WARM_UP = 0.5
"""Seconds that do not count."""


class Load:
    """What has become of calls since the warm-up."""

    def __init__(self, seconds: float, how: str) -> None:
        self.since = time.perf_counter() + WARM_UP
        self.until = self.since + seconds
        self.waits = how == "waits"
        self.outcomes: Counter[str] = Counter()
        self.answered: list[float] = []
        """Seconds of each good answer."""
        self.refused: list[float] = []
        """Seconds of each refusal."""

    async def call_on(self, client: BridgeClient) -> None:
        """One client, until the time is over."""
        while (began := time.perf_counter()) < self.until:
            wait = 0.0
            try:
                await client.call("work", rounds=ROUNDS, timeout=TIMEOUT)
                outcome = "good"
            except BridgeError as error:
                outcome = error.reason or error.code.name
                if error.retry_after is not None and self.waits:
                    wait = error.retry_after * random.uniform(0.5, 1.5)
            ended = time.perf_counter()
            if self.since <= ended < self.until:
                self.outcomes[outcome] += 1
                (self.answered if outcome == "good" else self.refused).append(ended - began)
            if wait:
                await asyncio.sleep(wait)


async def main(address: str, clients: int, seconds: float, how: str) -> None:
    """Runs the clients and prints what they have seen."""
    async with BridgeClient(address, retry=None, breaker=None) as client:
        await client.wait_ready()
        load = Load(seconds, how)
        await asyncio.gather(*(load.call_on(client) for _ in range(clients)))
    figures = {
        "rate": load.outcomes["good"] / seconds,
        "refused": load.outcomes["SERVER_BUSY"] / seconds,
        "other": {key: count for key, count in load.outcomes.items() if key not in ("good", "SERVER_BUSY")},
        "p50": percentile(load.answered, 50),
        "p99": percentile(load.answered, 99),
        "refused_p99": percentile(load.refused, 99),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))

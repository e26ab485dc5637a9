"""Calls to plugins: an echo by one client, in rounds, with the CPU of the plugin's process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bench.calls import WrongReplyError
from bench.cores import Cores
from bench.cpu import CpuClock
from bench.figures import Sample
from bench.goplugin.subjects import Running, Subject, run, turns
from tests.goplugin.proto import probe_pb2

__all__ = ["BIG", "run_big", "run_calls"]

SMALL, BIG = 100, 64 << 20
"""Bytes of a message."""
_ECHO = "/toolbridge.goplugintest.Streamer/Echo"
_TIMEOUT = 120.0


def _message(size: int) -> bytes:
    return probe_pb2.Chunk(data=os.urandom(size)).SerializeToString()


async def measure(running: Running, message: bytes, calls: int, in_flight: int) -> Sample:
    """One turn. Raises ``WrongReplyError``."""
    echo = running.channel.unary_unary(_ECHO)
    clock, left = CpuClock(running.pid), calls

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if await echo(message, timeout=_TIMEOUT) != message:
                raise WrongReplyError(f"{running.subject.label}: the answer is not what was sent")

    cpu, began = clock.read(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return Sample(calls, time.perf_counter() - began, clock.read() - cpu)


async def run_calls(
    subjects: Sequence[Subject], cores: Cores, rounds: int, calls: int, in_flights: Sequence[int]
) -> dict[int, dict[str, list[Sample]]]:
    """Everybody's turns, by calls in flight and label; one process of each for all of them."""
    samples: dict[int, dict[str, list[Sample]]] = {n: {subject.label: [] for subject in subjects} for n in in_flights}
    message = _message(SMALL)
    async with AsyncExitStack() as stack:
        plugins = [await stack.enter_async_context(run(subject, cores)) for subject in subjects]
        for running in plugins:
            await measure(running, message, calls, max(in_flights))
        for number in range(rounds):
            for in_flight in in_flights:
                for running in turns(plugins, number):
                    samples[in_flight][running.subject.label].append(await measure(running, message, calls, in_flight))
    return samples


async def run_big(subjects: Sequence[Subject], cores: Cores, rounds: int) -> dict[str, list[Sample]]:
    """The echo of one big message; a process of its own for each turn, whose second call is the one that counts."""
    samples: dict[str, list[Sample]] = {subject.label: [] for subject in subjects}
    message = _message(BIG)
    for number in range(rounds):
        for subject in turns(subjects, number):
            async with run(subject, cores) as running:
                await measure(running, message, 1, 1)
                samples[subject.label].append(await measure(running, message, 1, 1))
    return samples

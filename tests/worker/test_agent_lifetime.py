"""How a worker becomes ready, and how it ends: lifespans, shutdown, stop, and the end of its pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, tool
from bridge.tool_messages import pack_call
from bridge.worker import frames
from bridge.worker.agent import TERMINATED
from tests.support import probes
from tests.support.worker_pipe import refusal
from tests.worker.conftest import Ends, StartAgent, ended


class Lasting(Adapter):
    """Notes how its resources come and go."""

    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[str, None]:
        await asyncio.sleep(0)
        probes.journal.add("opened")
        try:
            yield "resource"
        finally:
            await asyncio.sleep(0)
            probes.journal.add("closed")

    @tool
    async def resource(self) -> Any:
        return self.resources


class Failing(Adapter):
    @classmethod
    @asynccontextmanager
    async def lifespan(cls) -> AsyncGenerator[None, None]:
        explode = probes.journal.notes["explode"]
        raise explode
        yield

    @tool
    async def nothing(self) -> None:
        return


async def test_it_is_ready_when_lifespans_are_open(start: StartAgent, journal: probes.Journal) -> None:
    pipe = await start(Lasting)
    assert journal.count("opened") == 1
    assert await pipe.call("resource") == "resource"


@pytest.mark.parametrize("error", [ValueError("no GPU"), SystemExit("no GPU")])
async def test_a_lifespan_that_fails_is_told(
    start: StartAgent, ends: Ends, journal: probes.Journal, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.notes["explode"] = error
    pipe = await start(Lasting, Failing)
    assert pipe.failed is not None
    assert (pipe.failed.code, pipe.failed.reason) == (Code.FAILED_PRECONDITION, "LIFESPAN_FAILED")
    assert "no GPU" in pipe.failed.message
    assert await ended(ends.codes[0]) == 1
    assert journal.count("closed") == 1
    assert not ends.orphaned
    assert "Traceback" in capsys.readouterr().err


async def test_shutdown_waits_for_calls_and_takes_no_more(
    start: StartAgent, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    number = pipe.begin("stubborn")
    await journal.wait("started")
    pipe.send(frames.Shutdown())
    assert (await refusal(pipe.call("resource"))).reason == "DRAINING"
    assert journal.count("closed") == 0
    journal.release.set()
    assert await pipe.end(number) is None
    assert await ended(ends.codes[0]) == 0
    assert journal.count("closed") == 1
    assert not ends.orphaned


async def test_stop_cancels_what_runs_and_closes_lifespans(
    start: StartAgent, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    number = pipe.begin("hang")
    await journal.wait("started")
    ends.agents[0].stop()
    error = await refusal(pipe.end(number))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "SHUTDOWN")
    assert await ended(ends.codes[0]) == TERMINATED
    assert (journal.count("ended"), journal.count("closed")) == (1, 1)


async def test_stop_does_not_wait_for_a_tool_that_does_not_end(
    start: StartAgent, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe, Lasting)
    pipe.begin("stubborn")
    await journal.wait("started")
    ends.agents[0].stop()
    assert await ended(ends.codes[0]) == TERMINATED
    assert (journal.count("ended"), journal.count("closed")) == (0, 1)
    journal.release.set()
    await journal.wait("ended")


async def test_the_end_of_the_pipe_is_told_at_once(
    start: StartAgent, ends: Ends, probe: type, journal: probes.Journal
) -> None:
    pipe = await start(probe)
    pipe.begin("hang")
    await journal.wait("started")
    pipe.close()
    await ended(ends.codes[0])
    assert ends.orphaned == [None]


@pytest.mark.parametrize(
    "junk",
    [b"\0\0\0\x01\xc1", b"\0\0\0\x03\x92\x63\x01", b"\0\0\0\x04\x92\x01\xa1x"],
    ids=["no msgpack", "kind", "type"],
)
async def test_nonsense_on_the_pipe_is_its_end(start: StartAgent, ends: Ends, probe: type, junk: bytes) -> None:
    pipe = await start(probe)
    pipe.send_bytes(junk)
    await ended(ends.codes[0])
    (error,) = ends.orphaned
    assert isinstance(error, BridgeError)
    assert error.reason == "BAD_FRAME"
    async with asyncio.timeout(5):
        await pipe.lost.wait()


async def test_frames_may_come_in_pieces(start: StartAgent, probe: type) -> None:
    pipe = await start(probe)
    pipe._calls[1] = asyncio.Queue()
    request = pack_call("add", {"a": 1})
    for byte in frames.encode(frames.Call(1, request, {}, None, "", False)):
        pipe.send_bytes(bytes([byte]))
    assert await pipe.end(1) == 2

"""The client of the JSON-RPC bench, with the floor as its server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.cores import Cores
from bench.jsonrpc.__main__ import call
from bench.jsonrpc.subjects import ARGUMENTS, SUBJECTS, Running


@pytest.fixture
def floor() -> Iterator[Running]:
    running = Running(SUBJECTS[0], Cores())
    yield running
    running.stop()


def test_calls_are_counted_and_weighed(floor: Running) -> None:
    assert floor.result == ARGUMENTS
    for in_flight in (1, 32):
        done = call(floor, in_flight, 0.02)
        assert done.rate > 0
        assert done.total_us > done.server_us > 0


def test_an_answer_that_differs_is_noticed(floor: Running) -> None:
    with pytest.raises(RuntimeError, match="differs"):
        floor.line.calls("tools.call", b'{"name":"echo","arguments":{"text":"other"}}', floor.result, 1, 0.02)

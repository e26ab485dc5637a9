"""A rate limit lets through what it says, counts the services of others only, and tells when to come again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import accumulate

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from bridge.engines.base import Method, ServerCall
from bridge.engines.services import Services
from bridge.engines.token_bucket import RateLimit, TokenBucket
from bridge.errors import BridgeError, Code
from tests.engines import numbers
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers, BlockingNumbers, pack, path, unpack


def _passes(bucket: TokenBucket, now: float) -> bool:
    try:
        bucket.take(now)
    except BridgeError:
        return False
    return True


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 20),
    pauses=st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), max_size=60),
)
def test_no_stretch_of_time_takes_more_than_the_burst_and_the_rate(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket = TokenBucket(RateLimit(rate, burst), 100.0)
    passed = [now for now in accumulate(pauses, initial=100.0) if _passes(bucket, now)]
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - begin) * rate + 1e-6


@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 20))
def test_whoever_waits_as_told_gets_through(rate: float, burst: int) -> None:
    bucket = TokenBucket(RateLimit(rate, burst), 5.0)
    for _ in range(burst):
        bucket.take(5.0)
    with pytest.raises(BridgeError) as caught:
        bucket.take(5.0)
    wait = caught.value.retry_after
    assert wait is not None
    assert not _passes(bucket, 5.0 + wait / 2)
    assert _passes(bucket, 5.0 + wait * 1.000001)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(RateLimit(10, 2), 0.0)
    assert [_passes(bucket, now) for now in (-100.0, -200.0, -50.0)] == [True, True, False]


def test_a_rest_fills_the_bucket_up_to_the_burst() -> None:
    bucket = TokenBucket(RateLimit(10, 2), 0.0)
    assert [_passes(bucket, 0.0) for _ in range(3)] == [True, True, False]
    assert not _passes(bucket, 0.05)
    assert [_passes(bucket, 60.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("numbers", [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)])
def test_a_limit_that_lets_nothing_or_everything_through_is_refused(numbers: tuple[float, int]) -> None:
    with pytest.raises(BridgeError, match="rate_limit") as caught:
        RateLimit(*numbers)
    assert caught.value.code is Code.INVALID_ARGUMENT


async def _echo(call: ServerCall, request: bytes) -> bytes:
    return request


SLOW = RateLimit(requests_per_second=0.001, burst=2)


@pytest.mark.parametrize("kind", [AsyncNumbers, BlockingNumbers])
async def test_services_are_limited_together_and_methods_of_the_server_are_free(serve: Serve, kind: type) -> None:
    services = Services()
    numbers.add(kind(), services)
    services.add_methods([Method("/test.Echo/Echo", unary=_echo)])
    free = Method("/test.Free/Echo", unary=_echo)
    channel = await serve(services=services, methods=(free,), rate_limit=SLOW)
    assert unpack(await channel.unary(path("Double"), pack(1), timeout=5)) == 2
    assert await channel.unary("/test.Echo/Echo", b"x", timeout=5) == b"x"

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    for attempt in (
        channel.unary(path("Double"), pack(1), timeout=5),
        channel.unary("/test.Echo/Echo", b"x", timeout=5),
        anext(channel.stream(path("Count"), pack(1), timeout=5)),
        anext(channel.duplex(path("Doubles"), nothing(), timeout=5)),
    ):
        with pytest.raises(BridgeError, match=r"0\.001 requests per second \(at most 2 at once\)") as caught:
            await attempt
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    for _ in range(5):
        assert await channel.unary(free.path, b"x", timeout=5) == b"x"


async def test_the_status_carries_retry_info(serve: Serve) -> None:
    channel = await serve(AsyncNumbers(), rate_limit=RateLimit(requests_per_second=0.5, burst=1))
    call = channel.for_stubs.unary_unary(path("Double"))
    await call(pack(1), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(pack(1), timeout=5)
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert 1.0 < retry.retry_delay.ToNanoseconds() / 1e9 <= 2.0

"""Whatever a servicer does, its caller gets a status that says what happened, and the log has the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from bridge.engines.services import Services
from bridge.errors import BridgeError, Code, ErrorDetails
from tests.engines.conftest import Serve
from tests.engines.numbers import AsyncNumbers, BlockingNumbers, Number, pack, path, unpack


class Failing(AsyncNumbers):
    """Does what the test wants, with the context."""

    def __init__(self, act: Any) -> None:
        self.act = act

    async def Double(self, request: Any, context: Any) -> Any:
        outcome = self.act(context)
        return await outcome if asyncio.iscoroutine(outcome) else outcome

    async def Count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield Number(value=0)
        outcome = self.act(context)
        yield await outcome if asyncio.iscoroutine(outcome) else outcome

    async def Sum(self, requests: Any, context: Any) -> Any:
        _ = [request async for request in requests]
        return await self.Double(None, context)


class BlockingFailing(BlockingNumbers):
    """The same in a thread."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def Double(self, request: Any, context: Any) -> Any:
        return self.act(context)

    def Count(self, request: Any, context: Any) -> Iterator[Any]:
        yield Number(value=0)
        yield self.act(context)

    def Sum(self, requests: Any, context: Any) -> Any:
        _ = list(requests)
        return self.act(context)


KINDS = pytest.mark.parametrize("kind", [Failing, BlockingFailing], ids=["async", "blocking"])


async def _failure(channel: Any, method: str = "Double") -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        async with asyncio.timeout(10):
            if method == "Double":
                await channel.unary(path(method), pack(1))
            else:
                _ = [data async for data in channel.stream(path(method), pack(1))]
    return caught.value


def _logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.startswith("bridge.")]


def _raise(error: BaseException) -> Any:
    def act(context: Any) -> None:
        raise error

    return act


@KINDS
@pytest.mark.parametrize("method", ["Double", "Count"])
async def test_an_exception_becomes_a_status_and_a_log_record(
    serve: Serve, kind: Any, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await serve(kind(_raise(KeyError("color"))))
    error = await _failure(channel, method)
    assert (error.code, error.reason, error.message) == (Code.UNKNOWN, "KeyError", "KeyError: 'color'")
    (record,) = _logged(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "act" in caplog.text
    assert record.getMessage() == f"test.Numbers/{method} failed (error id {error.details.metadata['error_id']})"


@KINDS
@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), BaseException()], ids=lambda e: type(e).__name__)
async def test_not_even_exceptions_that_end_programs_end_the_server(serve: Serve, kind: Any, error: Any) -> None:
    channel = await serve(kind(_raise(error)))
    for _ in range(2):
        assert (await _failure(channel)).code is Code.UNKNOWN


@KINDS
async def test_an_error_of_ours_is_the_status(serve: Serve, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    details = ErrorDetails(retry_after=1.5, metadata={"shelf": "7"})
    channel = await serve(kind(_raise(BridgeError(Code.NOT_FOUND, "no such book", reason="NO_BOOK", details=details))))
    for method in ("Double", "Count"):
        error = await _failure(channel, method)
        assert (error.code, error.reason, error.message) == (Code.NOT_FOUND, "NO_BOOK", "no such book")
        assert (error.retry_after, error.details.metadata) == (1.5, {"shelf": "7"})
    assert not _logged(caplog)


@KINDS
@pytest.mark.parametrize("method", ["Double", "Count"])
async def test_abort_goes_through_unchanged(
    serve: Serve, kind: Any, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    after: list[str] = []

    def abort(context: Any) -> Any:
        outcome = context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end", (("x-page", "9"),))
        if kind is Failing:
            return outcome
        after.append("went on")
        return None

    channel = await serve(kind(abort))
    call = getattr(channel.for_stubs, "unary_unary" if method == "Double" else "unary_stream")(path(method))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(5):
            outcome = call(pack(1))
            _ = await outcome if method == "Double" else [data async for data in outcome]
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "past the end")
    assert tuple(error.trailing_metadata()) == (("x-page", "9"),)
    assert not after
    assert not _logged(caplog)


async def test_an_abort_that_a_blocking_method_swallows_still_counts(serve: Serve) -> None:
    def abort(context: Any) -> Any:
        context.set_trailing_metadata((("x-page", "9"),))
        try:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end")
        except Exception:  # noqa: BLE001 - as a careless servicer does
            return Number(value=1)

    channel = await serve(BlockingFailing(abort))
    with pytest.raises(grpc.aio.AioRpcError, match="past the end") as caught:
        await channel.for_stubs.unary_unary(path("Double"))(pack(1), timeout=5)
    assert tuple(caught.value.trailing_metadata()) == (("x-page", "9"),)


async def test_an_abort_with_ok_is_a_failure(serve: Serve) -> None:
    error = await _failure(await serve(BlockingFailing(lambda context: context.abort(grpc.StatusCode.OK, "fine"))))
    assert error.code is Code.UNKNOWN
    assert "aborted the call with OK" in error.message


async def test_an_abort_error_raised_by_hand_is_a_failure_like_any_other(serve: Serve) -> None:
    error = await _failure(await serve(Failing(_raise(grpc.aio.AbortError("by hand")))))
    assert (error.code, error.message) == (Code.UNKNOWN, "AbortError: by hand")


@KINDS
async def test_a_code_that_was_set_is_the_status_and_the_response_does_not_matter(
    serve: Serve, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def act(context: Any) -> None:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("nothing here")

    error = await _failure(await serve(kind(act)))
    assert (error.code, error.message) == (Code.NOT_FOUND, "nothing here")
    assert not _logged(caplog)


@KINDS
async def test_a_code_that_was_set_before_an_exception_is_its_code(serve: Serve, kind: Any) -> None:
    def act(context: Any) -> None:
        context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
        raise ValueError("too short")

    error = await _failure(await serve(kind(act)))
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, "ValueError: too short")


@KINDS
async def test_a_method_left_as_it_was_generated_is_unimplemented_and_no_failure(
    serve: Serve, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def act(context: Any) -> None:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    error = await _failure(await serve(kind(act)))
    assert (error.code, error.message) == (Code.UNIMPLEMENTED, "Method not implemented!")
    assert not _logged(caplog)


@KINDS
@pytest.mark.parametrize("method", ["Double", "Count"])
async def test_an_answer_that_is_no_message_of_the_method_is_named(serve: Serve, kind: Any, method: str) -> None:
    error = await _failure(await serve(kind(lambda context: None)), method)
    assert error.code is Code.UNKNOWN
    assert f"test.Numbers/{method} answered with NoneType" in error.message


@pytest.mark.parametrize("kind", [AsyncNumbers, BlockingNumbers], ids=["async", "blocking"])
async def test_a_request_that_is_no_message_of_the_method_is_refused(serve: Serve, kind: Any) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield pack(1)
        yield b"\xff"

    channel = await serve(kind())
    attempts = [
        channel.stream(path("Count"), b"\xff"),
        channel.duplex(path("Sum"), requests()),
        channel.duplex(path("Doubles"), requests()),
    ]
    for attempt in attempts:
        with pytest.raises(BridgeError, match=r"valid message of test\.Numbers") as caught:
            async with asyncio.timeout(5):
                _ = [data async for data in attempt]
        assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    with pytest.raises(BridgeError, match=r"test\.Numbers/Double"):
        await channel.unary(path("Double"), b"\xff", timeout=5)


async def test_a_cancel_of_the_servicers_own_making_is_a_failure(serve: Serve) -> None:
    error = await _failure(await serve(Failing(_raise(asyncio.CancelledError()))))
    assert (error.code, error.reason) == (Code.UNKNOWN, "CancelledError")


async def test_a_failed_call_of_the_servicers_own_is_told_in_one_line(serve: Serve) -> None:
    async def act(context: Any) -> Any:
        return await channel.for_stubs.unary_unary("/test.Nobody/Here")(b"", timeout=5)

    channel = await serve(Failing(act))
    error = await _failure(channel)
    assert (error.code, error.message) == (Code.UNKNOWN, "AioRpcError: UNIMPLEMENTED: Method not found!")


async def test_blocking_methods_that_return_coroutines_are_told_apart(serve: Serve) -> None:
    async def later() -> None: ...

    error = await _failure(await serve(BlockingFailing(lambda context: later())))
    assert "declare it with async def" in error.message


@pytest.mark.parametrize("kind", [AsyncNumbers, BlockingNumbers], ids=["async", "blocking"])
async def test_messages_beyond_the_limit_are_refused_with_both_numbers(serve: Serve, kind: Any) -> None:
    services = Services()
    handler = grpc.method_handlers_generic_handler(
        "test.Large",
        {
            "One": grpc.unary_unary_rpc_method_handler(_large_async if kind is AsyncNumbers else _large),
            "Many": grpc.unary_stream_rpc_method_handler(_larges_async if kind is AsyncNumbers else _larges),
        },
    )
    services.add_generic_rpc_handlers((handler,))
    channel = await serve(services=services, max_message_bytes=1000, max_send_bytes=2000)
    attempts = [
        (channel.unary("/test.Large/One", bytes(1500), timeout=5), r"1500 vs\. 1000"),
        (channel.unary("/test.Large/One", b"", timeout=5), r"3000 vs\. 2000"),
        (anext(channel.stream("/test.Large/Many", b"", timeout=5)), r"3000 vs\. 2000"),
    ]
    for attempt, text in attempts:
        with pytest.raises(BridgeError, match=text) as caught:
            await attempt
        assert caught.value.code is Code.RESOURCE_EXHAUSTED


async def _large_async(request: bytes, context: Any) -> bytes:
    return bytes(3000)


async def _larges_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield bytes(3000)


def _large(request: bytes, context: Any) -> bytes:
    return bytes(3000)


def _larges(request: bytes, context: Any) -> Iterator[bytes]:
    yield bytes(3000)


async def test_what_was_sent_before_the_failure_arrives(serve: Serve) -> None:
    channel = await serve(Failing(_raise(KeyError())))
    stream = channel.stream(path("Count"), pack(1), timeout=5)
    assert unpack(await anext(stream)) == 0
    with pytest.raises(BridgeError, match="KeyError"):
        await anext(stream)

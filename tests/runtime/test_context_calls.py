"""What the tools of plugins know of their call, what they log, and what runs around them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from bridge.runtime import Adapter, SessionContext, tool
from bridge.runtime.logs import MAX_TEXT, PipeHandler
from bridge.worker import frames
from tests.runtime.conftest import StartWorker
from tests.support import probes

# -- the call ------------------------------------------------------------------------------------------------------


async def test_a_tool_sees_its_call(start: StartWorker, probe: type) -> None:
    pipe = await start(probe)
    facts = await pipe.call("whoami", session_id="s", metadata={"a": "b"}, principal="alice", remaining=60.0)
    assert facts == {
        "tool": "whoami",
        "session": "s",
        "metadata": {"a": "b"},
        "principal": "alice",
        "has_deadline": True,
        "thread": False,
    }
    assert 0 < await pipe.call("remaining", remaining=60.0) <= 60
    assert await pipe.call("remaining") is None


# -- logs ----------------------------------------------------------------------------------------------------------


def _logging(log: Callable[[SessionContext], object]) -> type:
    class Logs(Adapter):
        @tool
        def logs(self, ctx: SessionContext) -> None:
            log(ctx)

        @tool
        async def logs_async(self, ctx: SessionContext) -> None:
            log(ctx)

    return Logs


@pytest.mark.parametrize("name", ["logs", "logs_async"])
async def test_what_a_tool_logs_comes_before_its_answer_with_its_number(start: StartWorker, name: str) -> None:
    def log(ctx: SessionContext) -> None:
        ctx.log.info("from %s", "the context", extra={"planet": "Mars", "api_key": "hidden"})
        logging.getLogger("my.library").warning("from a library")
        logging.getLogger("my.library").debug("too small")

    pipe = await start(_logging(log))
    trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    number = pipe.begin(name, headers=trace)
    await pipe.end(number)
    records = [record for record in pipe.logs if record.call == number]
    assert pipe.logged[number] >= 2
    assert [(record.level, record.logger, record.message) for record in records] == [
        (logging.INFO, "bridge.tool", "from the context"),
        (logging.WARNING, "my.library", "from a library"),
    ]
    assert records[0].fields == {"tool": name, "trace_id": "a" * 32, "planet": "Mars", "api_key": "[redacted]"}


async def test_what_is_logged_while_something_is_sent_goes_with_the_next_frame(start: StartWorker) -> None:
    workers: list[Any] = []

    def log(ctx: SessionContext) -> None:
        with workers[0].pipe._sending:
            ctx.log.info("in the middle")

    pipe = await start(_logging(log))
    workers.append(pipe.worker)
    number = pipe.begin("logs")
    await pipe.end(number)
    assert [record.message for record in pipe.logs if record.call == number] == ["in the middle"]
    assert pipe.logged[number] == len(pipe.logs)


async def test_the_level_is_the_servers(start: StartWorker) -> None:
    pipe = await start(_logging(lambda ctx: (ctx.log.debug("small"), ctx.log.error("large"))))
    pipe.send(frames.Settings(log_level="error"))
    number = pipe.begin("logs")
    await pipe.end(number)
    pipe.send(frames.Settings(log_level="debug"))
    other = pipe.begin("logs")
    await pipe.end(other)
    assert [record.message for record in pipe.logs if record.call == number] == ["large"]
    assert [record.message for record in pipe.logs if record.call == other] == ["small", "large"]


async def test_whatever_is_logged_the_call_goes_on(start: StartWorker) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    def log(ctx: SessionContext) -> None:
        handler = next(one for one in logging.getLogger().handlers if isinstance(one, PipeHandler))
        for message, arguments in (("%d", ("no number",)), (Odd(), ())):
            handler.handle(logging.LogRecord("x", logging.ERROR, "", 0, message, arguments, None))  # type: ignore[arg-type]
        ctx.log.info("\ud800 and %s", "x" * 2 * MAX_TEXT)
        try:
            raise ValueError("seen")
        except ValueError:
            ctx.log.exception("with a trace")

    pipe = await start(_logging(log))
    number = pipe.begin("logs")
    await pipe.end(number)
    messages = [record.message for record in pipe.logs if record.call == number]
    assert len(messages) == 4
    assert "cannot be shown" in messages[0]
    assert len(messages[2]) == MAX_TEXT
    assert "ValueError: seen" in messages[3]


async def test_many_records_are_all_there(start: StartWorker) -> None:
    pipe = await start(_logging(lambda ctx: [ctx.log.info("%d", number) for number in range(3000)]))
    number = pipe.begin("logs")
    await pipe.end(number)
    assert [record.message for record in pipe.logs if record.call == number] == [str(n) for n in range(3000)]


async def test_a_failed_cleanup_is_logged_and_hides_nothing(start: StartWorker) -> None:
    class Untidy(Adapter):
        def cleanup(self) -> None:
            raise ValueError("untidy")

        @tool
        def plain(self) -> int:
            return 1

        @tool
        async def not_plain(self) -> int:
            return 2

    pipe = await start(Untidy)
    for name, result in (("plain", 1), ("not_plain", 2)):
        number = pipe.begin(name)
        assert await pipe.end(number) == result
        assert any("untidy" in record.message for record in pipe.logs if record.call == number)


@pytest.mark.parametrize("name", ["add", "count", "fail"])
async def test_hooks_run_once_in_each_call(start: StartWorker, probe: type, journal: probes.Journal, name: str) -> None:
    pipe = await start(probe)
    arguments: dict[str, Any] = {"add": {"a": 1}, "count": {"n": 2}, "fail": {"kind": "value"}}[name]
    number = pipe.begin(name, streaming=name == "count", **arguments)
    while isinstance(await pipe.next(number), frames.Chunk):
        pass
    assert (journal.count("initialize"), journal.count("cleanup")) == (1, 1)

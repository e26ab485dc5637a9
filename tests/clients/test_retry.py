"""Retries: thousands of histories without waiting, and the rules as a user meets them."""

from __future__ import annotations

import random

import pytest

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.v1 import bridge_pb2
from bridge_client import BreakerPolicy, RetryPolicy, State
from bridge_client.retry import Retrier, RetryBudget, never_ran
from tests.clients.memory import LOST, NOT_CONNECTED, ManualTime, MemoryServer, busy, chunk, result, run_now

IDEMPOTENT = bridge_pb2.ToolSpec(name="idem", idempotent=True)
ONCE = bridge_pb2.ToolSpec(name="once")
OK = result("ok")


def server(*outcomes: object, **options: object) -> MemoryServer:
    made = MemoryServer(tools=[IDEMPOTENT, ONCE], **options)  # type: ignore[arg-type]
    made.outcomes.extend(outcomes)  # type: ignore[arg-type]
    return made


# -- histories ---------------------------------------------------------------------------------------------------


class History:
    """One call with random failures under a random policy, and everything that happened to it."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.policy = RetryPolicy(
            max_attempts=chance.randint(1, 6),
            initial_backoff=chance.choice([0.0, 0.01, 0.1, 1.0]),
            max_backoff=chance.choice([0.05, 1.0, 5.0]),
            backoff_multiplier=chance.choice([1.0, 2.0, 3.0]),
            jitter=chance.random(),
            max_retry_after=chance.choice([0.0, 1.0, 10.0]),
            max_tokens=chance.choice([1.0, 3.0, 10.0]),
            token_ratio=chance.choice([0.0, 0.1, 1.0]),
        )
        self.time = ManualTime(seed)
        self.retrier = Retrier(self.policy, self.time.timing())
        self.deadline = self.time.now + chance.choice([0.05, 1.0, 10.0]) if chance.random() < 0.5 else None
        self.idempotent = chance.random() < 0.5
        self.errors: list[BridgeError] = []
        self.budgets: list[float] = []
        self._chance = chance

    def _fail(self) -> BridgeError:
        self.errors.append(self._chance.choice([LOST, LOST, NOT_CONNECTED, busy(self._chance.choice([0.0, 0.3, 2.0]))]))
        return self.errors[-1]

    async def attempt(self) -> str:
        assert self.deadline is None or self.time.now < self.deadline, "an attempt without time left"
        self.budgets.append(self.retrier.budget.tokens)
        if self._chance.random() < 0.2:
            return "ok"
        raise self._fail()

    async def is_idempotent(self) -> bool:
        if self._chance.random() < 0.3:
            raise NOT_CONNECTED
        return self.idempotent

    def run(self) -> BridgeError | None:
        """The error it ended with, if it did."""
        first = self._fail()
        if not self.retrier.failed(first):
            return first
        try:
            run_now(self.retrier.repeat(self.attempt, first, deadline=self.deadline, is_idempotent=self.is_idempotent))
        except BridgeError as error:
            return error
        return None


@pytest.mark.parametrize("block", range(8))
def test_random_histories_keep_the_promises(block: int) -> None:
    for seed in range(block * 500, (block + 1) * 500):
        history = History(seed)
        error = history.run()
        policy, backoff = history.policy, history.policy.backoff()
        assert len(history.errors) + (error is None) <= policy.max_attempts, seed
        assert error is None or error is history.errors[-1], seed
        if not history.idempotent:
            may_have_run = [failed for failed in history.errors if not never_ran(failed)]
            assert may_have_run in ([], history.errors[-1:]), f"seed {seed}: run twice"
        for wait in history.time.slept:
            lowest, highest = (1 - policy.jitter) * backoff.ceiling(1), (1 + policy.jitter) * policy.max_backoff
            assert min(lowest, policy.max_backoff * (1 - policy.jitter)) - 1e-9 <= wait, seed
            assert wait <= highest + policy.max_retry_after + 1e-9, seed
        assert history.deadline is None or history.time.now < history.deadline, f"seed {seed}: slept too long"
        assert all(tokens > policy.max_tokens / 2 for tokens in history.budgets), seed
        assert 0 <= history.retrier.budget.tokens <= policy.max_tokens, seed


def test_random_histories_never_take_the_budget_out_of_its_bounds() -> None:
    for seed in range(2000):
        chance = random.Random(seed)
        size = chance.uniform(1, 20)
        budget = RetryBudget(size, chance.uniform(0, 3))
        for _ in range(100):
            chance.choice([budget.success, budget.failure])()
            assert 0 <= budget.tokens <= size
            assert budget.allows == (budget.tokens > size / 2)


# -- rules -------------------------------------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again_when_it_said_although_the_tool_is_not_idempotent() -> None:
    time, memory = ManualTime(), server(busy(0.5), busy(0.7), OK)
    async with memory.client(time) as client:
        assert await client.call("once") == "ok"
    assert memory.executed == 3
    assert time.slept[0] >= 0.5
    assert time.slept[1] >= 0.7


async def test_a_server_that_is_not_there_yet_is_tried_again() -> None:
    time, memory = ManualTime(), server(NOT_CONNECTED, NOT_CONNECTED, OK)
    async with memory.client(time) as client:
        assert await client.call("once") == "ok"
    assert memory.methods() == ["ExecuteTool"] * 3, "nobody had to be asked whether the tool is idempotent"


async def test_a_call_that_may_have_run_is_not_repeated() -> None:
    memory = server(LOST, OK)
    async with memory.client(ManualTime()) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("once")
    assert caught.value is LOST
    assert memory.methods() == ["ExecuteTool", "ListTools"]


async def test_an_idempotent_tool_is_called_again_after_a_lost_connection() -> None:
    memory = server(LOST, LOST, OK)
    async with memory.client(ManualTime()) as client:
        assert await client.call("idem") == "ok"
    assert memory.methods() == ["ExecuteTool", "ListTools", "ExecuteTool", "ExecuteTool"]


async def test_whether_a_tool_is_idempotent_is_asked_again_when_the_server_is_back() -> None:
    memory = server(LOST, OK)
    memory.list_tools.append(NOT_CONNECTED)
    async with memory.client(ManualTime()) as client:
        assert await client.call("idem") == "ok"
    assert memory.methods() == ["ExecuteTool", "ListTools", "ListTools", "ExecuteTool"]


async def test_the_error_of_the_call_is_raised_when_nobody_can_say_whether_the_tool_is_idempotent() -> None:
    memory = server(LOST)
    memory.list_tools.extend([NOT_CONNECTED] * 10)
    async with memory.client(ManualTime()) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("idem")
    assert caught.value is LOST
    assert memory.executed == 1


async def test_an_unknown_tool_counts_as_not_idempotent() -> None:
    memory = server(LOST, OK)
    async with memory.client(ManualTime()) as client:
        with pytest.raises(BridgeError):
            await client.call("nobody-knows")
    assert memory.executed == 1


@pytest.mark.parametrize(
    "code", [Code.ABORTED, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND, Code.UNKNOWN, Code.INTERNAL]
)
async def test_other_codes_are_never_retried(code: Code) -> None:
    memory = server(BridgeError(code, "no", details=ErrorDetails(retry_after=0.1)), OK)
    policy = RetryPolicy(retryable_codes=frozenset({Code.UNAVAILABLE, Code.ABORTED, Code.INVALID_ARGUMENT}))
    async with memory.client(ManualTime(), retry=policy) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("idem")
    assert caught.value.code is code
    assert memory.methods() == ["ExecuteTool"]


async def test_all_attempts_fail_with_the_last_error() -> None:
    time, memory = ManualTime(), server(NOT_CONNECTED)
    async with memory.client(time, retry=RetryPolicy(max_attempts=3)) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("once")
    assert caught.value.reason == "NOT_CONNECTED"
    assert memory.executed == 3
    assert len(time.slept) == 2


async def test_each_attempt_gets_the_time_that_is_left() -> None:
    time, memory = ManualTime(), server(busy(1.0), busy(1.0), OK)
    async with memory.client(time) as client:
        await client.call("once", timeout=5.0)
    timeouts = [call.timeout for call in memory.calls]
    assert timeouts[0] == 5.0
    assert timeouts[1] == pytest.approx(5.0 - time.slept[0])
    assert timeouts[2] == pytest.approx(5.0 - sum(time.slept))


async def test_it_does_not_wait_past_the_deadline() -> None:
    time, memory = ManualTime(), server(busy(2.0), OK)
    async with memory.client(time) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("once", timeout=1.5)
    assert caught.value.reason == "SERVER_BUSY"
    assert time.slept == []


async def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for() -> None:
    time, memory = ManualTime(), server(busy(3600.0), OK)
    async with memory.client(time) as client:
        with pytest.raises(BridgeError):
            await client.call("once")
    assert time.slept == []


async def test_retries_stop_when_the_budget_is_half_spent_and_come_back_with_successes() -> None:
    memory = server(NOT_CONNECTED)
    policy = RetryPolicy(max_attempts=2, max_tokens=10, token_ratio=1.0)
    async with memory.client(ManualTime(), retry=policy, breaker=None) as client:
        for _ in range(20):
            with pytest.raises(BridgeError):
                await client.call("once")
        assert memory.executed == 20 + 2
        memory.outcomes[0] = OK
        for _ in range(10):
            await client.call("once")
        memory.outcomes.appendleft(NOT_CONNECTED)
        assert await client.call("once") == "ok"


async def test_without_a_policy_nothing_is_repeated() -> None:
    memory = server(NOT_CONNECTED, OK)
    async with memory.client(ManualTime(), retry=None) as client:
        with pytest.raises(BridgeError):
            await client.call("once")
    assert memory.executed == 1


async def test_a_stream_is_repeated_before_its_first_chunk_only() -> None:
    memory = server([NOT_CONNECTED], [chunk(0, 1), LOST])
    async with memory.client(ManualTime()) as client:
        got = []
        with pytest.raises(BridgeError) as caught:
            async for value in client.stream("idem"):
                got.append(value)
    assert got == [1]
    assert caught.value is LOST
    assert memory.executed == 2


async def test_reading_lists_is_repeated_without_a_lookup() -> None:
    memory = server()
    memory.list_tools.append(LOST)
    async with memory.client(ManualTime()) as client:
        assert [tool.name for tool in await client.tools()] == ["idem", "once"]


# -- with the breaker --------------------------------------------------------------------------------------------


async def test_the_breaker_opens_refuses_probes_and_closes() -> None:
    time, memory, changes = ManualTime(), server(LOST), []
    policy = BreakerPolicy(failure_threshold=3, reset_timeout=1.0, jitter=0.0)
    client = memory.client(time, retry=None, breaker=policy, on_state_change=lambda *change: changes.append(change[2:]))
    async with client:
        for _ in range(3):
            with pytest.raises(BridgeError):
                await client.call("once")
        with pytest.raises(BridgeError) as caught:
            await client.call("once")
        assert (caught.value.reason, caught.value.retry_after) == ("CIRCUIT_OPEN", 1.0)
        assert memory.executed == 3, "a refused call is not sent"
        assert repr(client) == "<BridgeClient memory:1 open once=open>"
        time.now += 1.0
        memory.outcomes[0] = OK
        assert await client.call("once") == "ok"
        assert client.breaker_states == {"once": State.CLOSED}
    assert changes == [
        (State.CLOSED, State.OPEN),
        (State.OPEN, State.HALF_OPEN),
        (State.HALF_OPEN, State.CLOSED),
    ]


async def test_a_call_whose_breaker_opens_meanwhile_ends_at_once_and_says_why() -> None:
    memory = server(NOT_CONNECTED)
    policy = BreakerPolicy(failure_threshold=2, reset_timeout=30.0)
    async with memory.client(ManualTime(), breaker=policy, retry=RetryPolicy(max_attempts=10)) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("once")
    assert caught.value.reason == "CIRCUIT_OPEN"
    assert caught.value.__cause__ is NOT_CONNECTED
    assert memory.executed == 2


async def test_streams_have_the_same_breaker() -> None:
    memory = server([LOST])
    async with memory.client(ManualTime(), retry=None, breaker=BreakerPolicy(failure_threshold=1)) as client:
        with pytest.raises(BridgeError):
            await anext(client.stream("once"))
        with pytest.raises(BridgeError) as caught:
            await anext(client.stream("once"))
    assert caught.value.reason == "CIRCUIT_OPEN"
    assert memory.executed == 1


@pytest.mark.parametrize("field", ["max_attempts", "max_retry_after", "max_tokens", "token_ratio"])
def test_policy_out_of_range_is_refused_by_name(field: str) -> None:
    with pytest.raises(BridgeError) as caught:
        RetryPolicy(**{field: -1})
    assert caught.value.violations[0].field == field


def test_a_refusal_of_our_own_breaker_is_no_proof_for_retries() -> None:
    own = BridgeError(Code.UNAVAILABLE, "open", reason="CIRCUIT_OPEN", details=ErrorDetails(retry_after=0.1))
    assert not never_ran(own)
    assert never_ran(busy())
    assert never_ran(NOT_CONNECTED)
    assert not never_ran(LOST)

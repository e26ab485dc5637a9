"""What the workers of a server's own Python promise holds for those of plugins: the same tests."""

from __future__ import annotations

import pytest

from bridge.invocation import ErrorPolicy
from tests.runtime.conftest import StartWorker
from tests.support import probes
from tests.support.worker_pipe import refusal
from tests.worker.test_agent_calls import (
    _facts,
    _run_here,
    test_a_cancel_takes_questions_to_the_host_back,
    test_a_stream_comes_in_order_and_ends,
    test_a_value_goes_in_and_comes_out,
    test_a_value_of_a_plain_tool_ends_the_stream_it_is_asked_as,
    test_an_error_comes_after_what_was_yielded_before_it,
    test_the_servers_policy_about_errors_is_obeyed,
    test_what_cannot_be_run_is_refused_and_the_worker_goes_on,
    test_what_is_too_large_is_refused_before_it_is_sent,
)

__all__ = [
    "test_a_cancel_takes_questions_to_the_host_back",
    "test_a_stream_comes_in_order_and_ends",
    "test_a_value_goes_in_and_comes_out",
    "test_a_value_of_a_plain_tool_ends_the_stream_it_is_asked_as",
    "test_an_error_comes_after_what_was_yielded_before_it",
    "test_the_servers_policy_about_errors_is_obeyed",
    "test_what_cannot_be_run_is_refused_and_the_worker_goes_on",
    "test_what_is_too_large_is_refused_before_it_is_sent",
]


@pytest.mark.parametrize("kind", [*probes.FAILURES, "tool"])
async def test_a_failure_looks_as_it_does_in_a_server(start: StartWorker, probe: type, kind: str) -> None:
    if kind == "stop" and probe is probes.Threaded:
        pytest.skip("asyncio makes something else of StopIteration, and here no asyncio is involved")
    pipe = await start(probe)
    there = await refusal(pipe.call("fail", kind=kind))
    here = await _run_here(probe, "fail", ErrorPolicy(), kind=kind)
    assert _facts(there) == _facts(here)
    assert there.message == here.message
    assert await pipe.call("add", a=1) == 2

"""Variables, watches and host tools: the tests of gRPC's hosts, with the sessions in each place that JSON-RPC knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from bridge.dispatcher import CallLimits, Dispatcher
from bridge.executors.inline import InlineExecutor
from bridge.hosts.memory import InMemoryHost
from bridge.registry import Registry
from bridge.server import Server
from bridge_client.jsonrpc import Client
from tests.interaction.test_variables import (  # noqa: F401
    Counting,
    test_a_call_without_a_session_says_how_to_get_one,
    test_a_cancelled_call_cancels_its_host_tool,
    test_a_closed_session_is_gone,
    test_a_missing_variable_is_not_found_unless_there_is_a_default,
    test_a_stale_version_is_refused_with_the_current_one,
    test_a_tool_calls_a_tool_of_the_host,
    test_a_tool_reads_what_the_client_set_and_the_other_way_round,
    test_a_variable_knows_which_tool_wrote_it,
    test_a_write_is_seen_by_the_next_read_of_the_same_call,
    test_an_error_of_a_host_tool_reaches_the_caller_as_it_is,
    test_an_unknown_session_is_not_found,
    test_reads_are_remembered_for_the_call_until_asked_afresh,
    test_sessions_do_not_see_each_other,
    test_several_variables_are_read_and_written_together,
    test_the_deadline_travels_with_a_callback,
)
from tests.interaction.test_watching import (  # noqa: F401
    Place,
    Watching,
    test_a_step_that_runs_into_a_timeout_loses_nothing,
    test_a_tool_follows_a_variable,
    test_a_watch_ends_with_its_call,
    test_a_watch_goes_on_where_another_one_stopped,
    test_a_watch_may_begin_with_the_values_there_are,
    test_every_change_comes_in_order_from_the_moment_the_watch_is_entered,
    test_leaving_frees_the_place_at_the_host,
    test_what_a_watch_has_shown_is_not_read_from_memory,
    test_what_cannot_be_watched_is_refused_on_entering,
)
from tests.support import probes

Start = Callable[..., Awaitable[Server]]

PLACES = ["the server", "a host over gRPC", "the client"]


def host_with_tools() -> InMemoryHost:
    """A host in the process of a client."""
    tools = Dispatcher(Registry([probes.HostTools]), {"inline": InlineExecutor()}, CallLimits())
    return InMemoryHost(tools=tools)


@asynccontextmanager
async def opened(kept_by: str, start: Start, serve: Start, *adapters: Any) -> AsyncIterator[tuple[Client, Any]]:
    """A client of a server of these adapters, and the host that keeps the sessions."""
    async with AsyncExitStack() as stack:
        if kept_by == "a host over gRPC":
            host = await start(probes.HostTools, role="host")
            server = await serve(*adapters, host=host.addresses[0])
            yield await stack.enter_async_context(await Client.connect(server.jsonrpc_address)), host.host
        elif kept_by == "the client":
            own = host_with_tools()
            await own.open()
            stack.push_async_callback(own.aclose)
            server = await serve(*adapters)
            yield await stack.enter_async_context(await Client.connect(server.jsonrpc_address, host=own)), own
        else:
            server = await serve(*adapters)
            yield await stack.enter_async_context(await Client.connect(server.jsonrpc_address)), server.host


@pytest.fixture(params=PLACES)
async def client(request: pytest.FixtureRequest, start: Start, serve: Start, probe_here: type) -> AsyncIterator[Client]:
    """In place of the fixture of gRPC."""
    async with opened(request.param, start, serve, probe_here, Counting) as (client, _):
        yield client


@pytest.fixture(params=PLACES[1:])
async def with_host(
    request: pytest.FixtureRequest, start: Start, serve: Start, probe_here: type
) -> AsyncIterator[Client]:
    """In place of the fixture of gRPC."""
    async with opened(request.param, start, serve, probe_here) as (client, _):
        yield client


@pytest.fixture(params=PLACES)
async def place(
    request: pytest.FixtureRequest, start: Start, serve: Start, journal: probes.Journal
) -> AsyncIterator[Place]:
    """In place of the fixture of gRPC."""
    async with opened(request.param, start, serve, Watching) as (client, host):
        yield Place(client, host, "")  # type: ignore[arg-type]

"""The broker of a host of ours, and that of a plugin in Go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.engines.services import Services
from bridge.errors import BridgeError
from bridge.goplugin.handshake import HandshakeConfig
from bridge.goplugin.host.client import PluginClient
from bridge.goplugin.plugin import Plugin, ServicePlugin
from tests.goplugin.broker_pair import KINDS, Kind
from tests.goplugin.proto import counter_pb2, counter_pb2_grpc, probe_pb2, probe_pb2_grpc

COOKIE = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")
PLUGINS: dict[str, Plugin] = {
    "counter": ServicePlugin(counter_pb2_grpc.add_CounterServicer_to_server, stub=counter_pb2_grpc.CounterStub),
    "probe": ServicePlugin(probe_pb2_grpc.add_ProbeServicer_to_server, stub=probe_pb2_grpc.ProbeStub),
}

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


class AddHelper(counter_pb2_grpc.AddHelperServicer):
    """Adds, for the plugin."""

    async def Sum(self, request: counter_pb2.SumRequest, context: Any) -> counter_pb2.SumResponse:
        return counter_pb2.SumResponse(r=request.a + request.b)


def serve_helper(server: Services) -> None:
    counter_pb2_grpc.add_AddHelperServicer_to_server(AddHelper(), server)  # type: ignore[no-untyped-call]


@asynccontextmanager
async def hosting(go_plugin: Path, kind: Kind) -> AsyncIterator[PluginClient]:
    """A plugin in Go, run by us."""
    async with (
        asyncio.timeout(40),
        PluginClient(
            cmd=[go_plugin], handshake=COOKIE, plugins=PLUGINS, auto_mtls=kind.tls, multiplex=kind.mux
        ) as client,
    ):
        yield client


async def put(client: PluginClient, service_id: int) -> None:
    """Has the plugin add 1, by a helper that it dials."""
    counter = await client.dispense("counter")
    await counter.Put(counter_pb2.CounterPutRequest(add_server=service_id, key="k", value=1))


async def helped(client: PluginClient) -> int:
    """Asks a helper that the plugin offers."""
    probe = await client.dispense("probe")
    offer = await probe.OfferHelper(probe_pb2.OfferHelperRequest())
    async with client.broker.dial(offer.service_id) as channel:
        helper = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
        answer = await helper.Sum(counter_pb2.SumRequest(a=2, b=3))
    return int(answer.r)


@every_kind
async def test_both_sides_dial_what_the_other_accepts_again_and_again(go_plugin: Path, kind: Kind) -> None:
    async with hosting(go_plugin, kind) as client:
        for _ in range(25):
            service_id = client.broker.next_id()
            async with client.broker.accept_and_serve(service_id, serve_helper):
                await put(client, service_id)
            assert await helped(client) == 5
        counter = await client.dispense("counter")
        assert (await counter.Get(counter_pb2.CounterGetRequest(key="k"))).value == 25


@every_kind
async def test_a_dial_of_what_a_go_plugin_does_not_accept_does_not_disturb_the_next(
    go_plugin: Path, kind: Kind
) -> None:
    async with hosting(go_plugin, kind) as client:
        assert await helped(client) == 5
        # The plugin gives this id out next: it then finds the knock, and answers it, but nobody waits any more.
        with pytest.raises(BridgeError) as caught:
            async with client.broker.dial(2, timeout=0.3):
                pass
        assert caught.value.reason == ("KNOCK_TIMEOUT" if kind.mux else "BROKER_TIMEOUT")
        assert [await helped(client) for _ in range(3)] == [5, 5, 5]

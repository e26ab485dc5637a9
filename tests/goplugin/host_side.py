"""A host of ours with plugins of all kinds, in each way that the two can be connected."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bridge.goplugin import Broker, HandshakeConfig, Plugin, PluginClient, ServicePlugin, Tls, static_tls
from bridge.goplugin import sync as blocking
from tests.goplugin.proto import counter_pb2, counter_pb2_grpc, kv_pb2, kv_pb2_grpc, probe_pb2_grpc
from tests.goplugin.servicers import AddHelper
from tests.goplugin.ways import CHECKOUT, SECONDS, Way

__all__ = [
    "CLOSED_BY_GO",
    "COOKIE",
    "PLUGINS",
    "BlockingAddHelper",
    "Dial",
    "add",
    "children",
    "client_of",
    "code_of",
    "count",
    "get",
    "host_environment",
    "put",
    "quiet",
    "serve_helper",
    "settings_of",
    "started",
    "sync_client_of",
]

CLOSED_BY_GO = "use of closed network connection"
"""What yamux in Go may say at the end of its process, of a connection that it has closed itself."""

COOKIE = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")


class Dial(Plugin):
    """Gives channel and broker as they are."""

    def client(self, channel: Any, broker: Broker) -> Any:
        return channel, broker


def _stub_only(stub: Any) -> ServicePlugin:
    return ServicePlugin(lambda servicer, server: None, None, stub)


PLUGINS: dict[str, Plugin] = {
    "kv": _stub_only(kv_pb2_grpc.KVStub),
    "counter": _stub_only(counter_pb2_grpc.CounterStub),
    "streamer": _stub_only(probe_pb2_grpc.StreamerStub),
    "probe": _stub_only(probe_pb2_grpc.ProbeStub),
    "all": Dial(),
}


class BlockingAddHelper(counter_pb2_grpc.AddHelperServicer):
    """Adds, in threads."""

    def Sum(self, request: counter_pb2.SumRequest, context: Any) -> counter_pb2.SumResponse:
        """The service's one call."""
        return counter_pb2.SumResponse(r=request.a + request.b)


def serve_helper(helper: object, server: Any) -> None:
    """Puts it on a server."""
    counter_pb2_grpc.add_AddHelperServicer_to_server(helper, server)  # type: ignore[no-untyped-call]


async def add(channel: Any) -> int:
    """What a helper says that 1 and 2 are."""
    stub = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
    answer: counter_pb2.SumResponse = await stub.Sum(counter_pb2.SumRequest(a=1, b=2))
    return answer.r


def settings_of(way: Way, static_flags: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Of the client, and the flags of the plugin."""
    tls: Tls | None = None
    flags: list[str] = []
    if way.tls == "static TLS":
        flags = list(static_flags)
        files = dict(zip(flags[::2], map(Path, flags[1::2]), strict=True))
        tls = static_tls(files["-tls-cert"], files["-tls-key"], authorities=files["-tls-ca"])
    return {"auto_mtls": way.tls == "AutoMTLS", "tls": tls, "multiplex": way.multiplexed}, flags


def client_of(command: Sequence[str | Path], **settings: Any) -> PluginClient:
    """A client for a plugin in plain, unless it is said otherwise."""
    return PluginClient(**_settings(command, settings))


def sync_client_of(command: Sequence[str | Path], **settings: Any) -> blocking.PluginClient:
    """The same for code that blocks."""
    return blocking.PluginClient(**_settings(command, settings))


def _settings(command: Sequence[str | Path], settings: dict[str, Any]) -> dict[str, Any]:
    usual = {"cmd": list(command), "handshake": COOKIE, "plugins": PLUGINS, "auto_mtls": False, "inherit_stdin": False}
    return usual | {"start_timeout": 20.0} | settings


@asynccontextmanager
async def started(command: Sequence[str | Path], **settings: Any) -> AsyncIterator[PluginClient]:
    """A client whose plugin runs. The whole may take ``SECONDS``."""
    async with asyncio.timeout(SECONDS), client_of(command, **settings) as client:
        yield client


async def put(client: PluginClient, key: str, value: bytes) -> None:
    """Of the KV service."""
    await (await client.dispense("kv")).Put(kv_pb2.PutRequest(key=key, value=value))


async def get(client: PluginClient, key: str) -> bytes:
    """Of the KV service."""
    answer: kv_pb2.GetResponse = await (await client.dispense("kv")).Get(kv_pb2.GetRequest(key=key))
    return answer.value


async def count(client: PluginClient, number: int) -> int:
    """Adds to a counter of the plugin, with a helper behind the broker that must have been called."""
    counter, broker, helper = await client.dispense("counter"), client.broker, AddHelper()
    service_id = broker.next_id()
    async with broker.accept_and_serve(service_id, lambda server: serve_helper(helper, server)):
        await counter.Put(counter_pb2.CounterPutRequest(add_server=service_id, key="n", value=number))
    assert helper.calls == 1
    answer: counter_pb2.CounterGetResponse = await counter.Get(counter_pb2.CounterGetRequest(key="n"))
    return answer.value


def quiet(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What was logged from that level on; also of tasks whose exceptions nobody has asked for."""
    gc.collect()
    told = [f"{record.name}: {record.getMessage()}" for record in caplog.records if record.levelno >= level]
    return [line for line in told if CLOSED_BY_GO not in line]


def children(pid: int | str = "self") -> list[int]:
    """Processes that one has started and not reaped."""
    found = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return sorted(int(pid) for pids in found for pid in pids)


def code_of(error: BaseException) -> str:
    """Name of the status of a failed call."""
    assert isinstance(error, grpc.RpcError)
    name: str = error.code().name
    return name


def host_environment() -> dict[str, str]:
    """For a host in a process of its own."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))}

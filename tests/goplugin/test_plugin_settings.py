"""Settings of a plugin of ours, by argument and by variable, what is said of bad ones, and what they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bridge import engines
from bridge.engines.base import ChannelOptions
from bridge.errors import BridgeError, Code
from bridge.goplugin import HandshakeConfig, ReattachConfig, ServicePlugin, plugin_server, serve
from bridge.goplugin.serving.settings import HostWishes, ServeSettings, settle
from tests.goplugin.go_host import HostError
from tests.goplugin.proto import kv_pb2, kv_pb2_grpc
from tests.goplugin.raw_plugin import ended_badly
from tests.goplugin.servicers import KV
from tests.goplugin.ways import SECONDS, Run

OTHER: dict[str, tuple[str, Any]] = {
    "network": ("tcp", "tcp"),
    "max_message_bytes": ("4096", 4096),
    "grace": ("0.25", 0.25),
    "rate_limit": ("2.5", 2.5),
    "rate_burst": ("7", 7),
    "shutdown_file": ("/run/stop", "/run/stop"),
    "log_level": ("trace", "trace"),
    "exit_with_host": ("false", False),
    "linger": ("0", 0.0),
    "disconnect_timeout": ("5", 5.0),
    "reflection": ("0", False),
}
"""As a variable's text, and what it means; none is a default."""
BAD = {
    "network": "udp",
    "max_message_bytes": "1K",
    "grace": "-1",
    "rate_limit": "-0.5",
    "rate_burst": "0",
    "log_level": "loud",
    "exit_with_host": "perhaps",
    "linger": "1s",
    "disconnect_timeout": "1e9",
    "reflection": "2",
}
"""Not ``shutdown_file``: any text can be a path."""
BAD_WISHES = {"min_port": "x", "max_port": "65536"}


def test_every_setting_is_tried() -> None:
    assert set(OTHER) == set(ServeSettings.__struct_fields__)
    assert set(BAD) == set(OTHER) - {"shutdown_file"}


@pytest.mark.parametrize("field", OTHER)
def test_an_argument_counts_more_than_its_variable_and_that_more_than_the_default(field: str) -> None:
    text, value = OTHER[field]
    default = getattr(ServeSettings(), field)
    variable = {f"PLUGIN_{field.upper()}": text}
    assert value != default
    assert getattr(settle(variable, {}), field) == value
    assert getattr(settle({}, {field: value}), field) == value
    assert getattr(settle(variable, {field: default}), field) == default
    assert settle({f"PLUGIN_{field.upper()}": ""}, {}) == ServeSettings()


@pytest.mark.parametrize("field", BAD)
def test_a_bad_value_is_told_with_the_name_of_what_has_it(field: str) -> None:
    for environ, given, name in (
        ({f"PLUGIN_{field.upper()}": BAD[field]}, {}, f"PLUGIN_{field.upper()}"),
        ({}, {field: BAD[field]}, field),
    ):
        with pytest.raises(BridgeError, match=rf"\b{name}\b") as raised:
            settle(environ, given)
        assert (raised.value.code, raised.value.reason) == (Code.INVALID_ARGUMENT, "PLUGIN_SETTING")
        assert BAD[field] not in raised.value.message.replace(name, "")


def test_a_setting_that_does_not_exist_is_told() -> None:
    with pytest.raises(BridgeError, match="colour") as raised:
        settle({"PLUGIN_COLOUR": "red"}, {"colour": "red"})
    assert raised.value.reason == "PLUGIN_SETTING"


def test_ports_of_the_host_have_to_be_a_range() -> None:
    with pytest.raises(BridgeError, match="PLUGIN_MIN_PORT"):
        HostWishes.read({"PLUGIN_MIN_PORT": "2", "PLUGIN_MAX_PORT": "1"})


@pytest.mark.parametrize("field", BAD | BAD_WISHES)
async def test_a_plugin_with_a_bad_variable_says_so_in_one_line_and_ends(field: str) -> None:
    name = f"PLUGIN_{field.upper()}"
    async with asyncio.timeout(SECONDS):
        said = await ended_badly(env={name: (BAD | BAD_WISHES)[field]})
    assert name in said
    assert len(said.splitlines()) == 1


async def test_a_plugin_with_a_bad_argument_says_so_in_one_line_and_ends() -> None:
    async with asyncio.timeout(SECONDS):
        said = await ended_badly("-set", "grace=long")
    assert "grace" in said
    assert len(said.splitlines()) == 1


async def test_what_a_plugin_says_before_it_cannot_be_served_is_not_lost() -> None:
    async with asyncio.timeout(SECONDS):
        said = await ended_badly("-open-fails")
    assert "what open has printed" in said
    assert "the database is not there" in said


async def test_a_rate_limit_is_for_the_plugins_services_only(run_ours: Run) -> None:
    async with run_ours("-set", "rate_limit=0.001", "-set", "rate_burst=2") as host:
        await host.put("k", b"v")
        assert await host.get("k") == b"v"
        with pytest.raises(HostError) as raised:
            await host.get("k")
        assert raised.value.code == "ResourceExhausted"
        for _ in range(5):
            await host.ping()
        ending = await host.kill()
        assert (ending.exit_code, ending.forced) == (0, False)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK that keeps spans in memory. The API has no way to take a provider back, hence the private names."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", type(trace._TRACER_PROVIDER_SET_ONCE)())
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


async def test_calls_of_a_plugins_services_are_traced(spans: InMemorySpanExporter) -> None:
    handshake = HandshakeConfig(magic_cookie_key="KEY", magic_cookie_value="value")
    plugins = {"kv": ServicePlugin(kv_pb2_grpc.add_KVServicer_to_server, KV())}
    async with (
        asyncio.timeout(SECONDS),
        plugin_server(handshake=handshake, plugins=plugins, test=True, environ={}) as server,
        contextlib.aclosing(engines.connect(f"unix:{server.reattach.address}", ChannelOptions())) as channel,
    ):
        stub: Any = kv_pb2_grpc.KVStub(channel.for_stubs)  # type: ignore[no-untyped-call]
        await stub.Put(kv_pb2.PutRequest(key="k", value=b"v"))
    assert [span.name for span in spans.get_finished_spans()] == ["proto.KV/Put"]


def test_a_reattach_line_can_be_read_back() -> None:
    line = '{"Protocol":"grpc","ProtocolVersion":1,"Pid":7,"Test":true,"Addr":{"Network":"unix","String":"/run/s"}}'
    config = ReattachConfig.from_json(line)
    assert config.to_json() == line
    for bad in ("", "{}", line.replace("7", '"7"'), line[:-1]):
        with pytest.raises(BridgeError, match="reattach"):
            ReattachConfig.from_json(bad)
    assert msgspec.json.decode(config.to_json())["Addr"]["String"] == "/run/s"


@pytest.mark.parametrize(("name", "expected"), [("GRACE", "is a number"), ("RATE_BURST", "is a whole number")])
def test_text_in_place_of_a_number_is_told_what_it_should_be(name: str, expected: str) -> None:
    with pytest.raises(BridgeError, match=f"PLUGIN_{name}: {expected}"):
        settle({f"PLUGIN_{name}": "ten"}, {})


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_serve_where_it_cannot_run_names_what_can(elsewhere: bool) -> None:
    def begin() -> None:
        serve(handshake=HandshakeConfig(magic_cookie_key="K", magic_cookie_value="v"), plugins={}, test=True)

    with pytest.raises(BridgeError, match="plugin_server") as caught:
        await asyncio.to_thread(begin) if elsewhere else begin()
    assert caught.value.reason == "SERVE_PLACE"

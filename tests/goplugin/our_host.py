"""A host of ours that does what it reads from stdin, as host/main.go does: the steps of the matrix.

python -m tests.goplugin.our_host [FLAG...] -- PLUGIN [ARGUMENT...]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from pathlib import Path
from typing import Any

import grpc

from bridge.goplugin import Broker, HandshakeConfig, Plugin, PluginClient, static_tls
from tests.goplugin.proto import counter_pb2, counter_pb2_grpc, probe_pb2, probe_pb2_grpc
from tests.goplugin.python_host import Arguments, PythonHost, obey
from tests.goplugin.servicers import AddHelper


class Everything(Plugin):
    """Whatever a plugin serves."""

    def client(self, channel: Any, broker: Broker) -> Any:
        return channel


class Printed:
    """What a plugin has printed to one stream."""

    def __init__(self) -> None:
        self.data = b""
        self._more = asyncio.Event()

    def write(self, data: bytes) -> None:
        """More of it."""
        self.data += data
        self._more.set()

    async def at_least(self, size: int) -> str:
        """All of it, when it is that much; base64."""
        while len(self.data) < size:
            self._more.clear()
            await self._more.wait()
        return base64.b64encode(self.data).decode()


add_helper: Any = counter_pb2_grpc.add_AddHelperServicer_to_server


class Host(PythonHost):
    """One plugin, which the first step starts."""

    def __init__(self, **settings: Any) -> None:
        self._stdout, self._stderr = Printed(), Printed()
        self._client = PluginClient(
            handshake=HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello"),
            plugins={"everything": Everything()},
            sync_stdout=self._stdout,
            sync_stderr=self._stderr,
            **settings,
        )

    async def _channel(self) -> grpc.aio.Channel:
        await self._client.start()
        channel: grpc.aio.Channel = await self._client.dispense("everything")
        return channel

    async def start(self, arguments: Arguments) -> Any:
        """Where it listens."""
        await self._client.start()
        assert self._client._connection is not None
        handshake = self._client._connection.handshake
        return {
            "network": handshake.network,
            "address": handshake.address,
            "version": handshake.protocol_version,
            "pid": self._client.pid,
        }

    async def ping(self, arguments: Arguments) -> None:
        """Asks for the health of "plugin"."""
        await self._client.start()
        await self._client.ping()

    async def count(self, arguments: Arguments) -> Any:
        """Has the plugin add a number, so often, each time with a helper behind the broker."""
        counter = counter_pb2_grpc.CounterStub(await self._channel())  # type: ignore[no-untyped-call]
        broker, helper, key = self._client.broker, AddHelper(), arguments["key"]
        for _ in range(arguments["times"]):
            service_id = broker.next_id()
            async with broker.accept_and_serve(service_id, lambda server: add_helper(helper, server)):
                await counter.Put(
                    counter_pb2.CounterPutRequest(add_server=service_id, key=key, value=arguments["number"])
                )
        response = await counter.Get(counter_pb2.CounterGetRequest(key=key))
        return {"value": response.value, "sums": helper.calls}

    async def helper(self, arguments: Arguments) -> int:
        """Asks a service that the plugin has behind the broker."""
        probe = probe_pb2_grpc.ProbeStub(await self._channel())  # type: ignore[no-untyped-call]
        offer = await probe.OfferHelper(probe_pb2.OfferHelperRequest())
        number = arguments["number"]
        async with self._client.broker.dial(offer.service_id) as channel:
            stub = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
            answer = await stub.Sum(counter_pb2.SumRequest(a=number, b=number))
        result: int = answer.r
        return result

    async def stdio(self, arguments: Arguments) -> Any:
        """What the plugin has printed, when that is at least so much."""
        stdout, stderr = arguments["sizes"]
        return {"stdout": await self._stdout.at_least(stdout), "stderr": await self._stderr.at_least(stderr)}

    async def kill(self, arguments: Arguments) -> Any:
        """How it ended."""
        assert self._client._connection is not None
        process = self._client._connection.process
        graceful = await self._client.kill()
        ended = process.exit
        return {
            "forced": not graceful,
            "exited": ended is not None,
            "exit_code": None if ended is None else ended.code,
            "signal": None if ended is None else ended.signal,
        }


async def main() -> None:
    """Until stdin ends."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-automtls", action="store_true")
    parser.add_argument("-mux", action="store_true")
    parser.add_argument("-tls-ca", type=Path)
    parser.add_argument("-tls-cert", type=Path)
    parser.add_argument("-tls-key", type=Path)
    parser.add_argument("command", nargs="+")
    flags = parser.parse_args()
    tls = static_tls(flags.tls_cert, flags.tls_key, authorities=flags.tls_ca) if flags.tls_cert else None
    await obey(Host(cmd=flags.command, auto_mtls=flags.automtls, multiplex=flags.mux, tls=tls))


if __name__ == "__main__":
    asyncio.run(main())

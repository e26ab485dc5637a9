"""A plugin of ours with the services of proto/, and flags as those of the plugin in Go (services/options.go)."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError, Code
from bridge.goplugin import Broker, HandshakeConfig, Plugin, ServicePlugin, Services, protect_stdout, serve, static_tls

if "-unprotected" not in sys.argv:
    protect_stdout()

import grpc

from tests.goplugin.proto import (
    counter_pb2,
    counter_pb2_grpc,
    kv_pb2,
    kv_pb2_grpc,
    probe_pb2,
    probe_pb2_grpc,
)
from tests.goplugin.servicers import KV, AddHelper, Streamer

log = logging.getLogger("our_plugin")
libc = ctypes.CDLL(None)


class BlockingKV(kv_pb2_grpc.KVServicer):
    """Remembers values until the process ends, with functions that run in threads."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def Get(self, request: kv_pb2.GetRequest, context: Any) -> kv_pb2.GetResponse:
        """NOT_FOUND for a key without a value."""
        if request.key not in self._values:
            context.abort(grpc.StatusCode.NOT_FOUND, f'no value for "{request.key}"')
        return kv_pb2.GetResponse(value=self._values[request.key])

    def Put(self, request: kv_pb2.PutRequest, context: Any) -> kv_pb2.Empty:
        """Replaces what was there."""
        self._values[request.key] = request.value
        return kv_pb2.Empty()


class Counter(counter_pb2_grpc.CounterServicer):
    """Adds up, with the arithmetic of who calls it."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._values = broker, dict[str, int]()

    async def Get(self, request: counter_pb2.CounterGetRequest, context: Any) -> counter_pb2.CounterGetResponse:
        """What is there."""
        return counter_pb2.CounterGetResponse(value=self._values.get(request.key, 0))

    async def Put(self, request: counter_pb2.CounterPutRequest, context: Any) -> counter_pb2.CounterEmpty:
        """Asks the caller for the sum."""
        async with self._broker.dial(request.add_server) as channel:
            terms = counter_pb2.SumRequest(a=self._values.get(request.key, 0), b=request.value)
            helper: Any = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
            answer = await helper.Sum(terms)
        self._values[request.key] = answer.r
        return counter_pb2.CounterEmpty()


class BlockingCounter(counter_pb2_grpc.CounterServicer):
    """The same in threads."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._values = broker.blocking, dict[str, int]()

    def Get(self, request: counter_pb2.CounterGetRequest, context: Any) -> counter_pb2.CounterGetResponse:
        """What is there."""
        return counter_pb2.CounterGetResponse(value=self._values.get(request.key, 0))

    def Put(self, request: counter_pb2.CounterPutRequest, context: Any) -> counter_pb2.CounterEmpty:
        """Asks the caller for the sum."""
        with self._broker.dial(request.add_server) as channel:
            terms = counter_pb2.SumRequest(a=self._values.get(request.key, 0), b=request.value)
            helper: Any = counter_pb2_grpc.AddHelperStub(channel)  # type: ignore[no-untyped-call]
            self._values[request.key] = helper.Sum(terms).r
        return counter_pb2.CounterEmpty()


class Probe(probe_pb2_grpc.ProbeServicer):
    """Does what plugins do, also badly."""

    def __init__(self, broker: Broker, version: int) -> None:
        self._broker, self._version, self._hanging = broker, version, 0
        self._helpers = AsyncExitStack()

    async def Info(self, request: Any, context: Any) -> probe_pb2.InfoResponse:
        """What it sees."""
        return probe_pb2.InfoResponse(
            pid=os.getpid(),
            language="tool-bridge",
            arguments=sys.argv,
            folder=str(Path.cwd()),
            environment=dict(os.environ),
            hanging=self._hanging,
            app_version=self._version,
        )

    async def Print(self, request: probe_pb2.PrintRequest, context: Any) -> probe_pb2.PrintResponse:
        """In turns by Python, by its descriptor and by C."""
        for number in range(max(1, request.times)):
            for stream, data in ((sys.stdout, request.stdout), (sys.stderr, request.stderr)):
                if number % 2:
                    stream.buffer.write(data)
                    stream.flush()
                else:
                    _write_by_c(stream.fileno(), data)
        return probe_pb2.PrintResponse()

    async def Log(self, request: probe_pb2.LogRequest, context: Any) -> probe_pb2.LogResponse:
        """By Python's logging; with the level "raise" after an exception."""
        if request.level == "raise":
            try:
                raise RuntimeError(request.message)
            except RuntimeError:
                log.exception("what was raised: %s", request.message)
            return probe_pb2.LogResponse()
        level = 5 if request.level == "trace" else logging.getLevelName(request.level.upper())
        log.log(level, request.message, extra=dict(request.pairs))
        return probe_pb2.LogResponse()

    async def Hang(self, request: Any, context: Any) -> probe_pb2.HangResponse:
        """Until it is cancelled."""
        self._hanging += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._hanging -= 1
        return probe_pb2.HangResponse()

    async def Panic(self, request: probe_pb2.PanicRequest, context: Any) -> probe_pb2.PanicResponse:
        """Ends as Python does when it has crashed."""
        log.critical("%s", request.message)
        os.abort()

    async def Exit(self, request: probe_pb2.ExitRequest, context: Any) -> probe_pb2.ExitResponse:
        """Ends at once."""
        os._exit(request.code)

    async def OfferHelper(self, request: Any, context: Any) -> probe_pb2.OfferHelperResponse:
        """Serves by the broker until the plugin ends."""
        service_id = self._broker.next_id()
        add: Any = counter_pb2_grpc.add_AddHelperServicer_to_server
        helper = self._broker.accept_and_serve(service_id, lambda server: add(AddHelper(), server))
        await self._helpers.enter_async_context(helper)
        return probe_pb2.OfferHelperResponse(service_id=service_id)


class StuckProbe(Probe):
    """One with a mistake."""

    async def Hang(self, request: Any, context: Any) -> probe_pb2.HangResponse:
        """Blocks the event loop, and says so before by a file."""
        Path(os.environ["TMPDIR"], "stuck").touch()  # noqa: ASYNC240
        while True:
            time.sleep(3600)  # noqa: ASYNC251


def _write_by_c(fd: int, data: bytes) -> None:
    while data:
        data = data[libc.write(fd, data, len(data)) :]


class WithBroker(Plugin):
    """A service that needs the broker."""

    def __init__(self, add: Any, servicer: Any, *more: Any) -> None:
        self._add, self._servicer, self._more = add, servicer, more

    def register(self, server: Services, broker: Broker) -> None:
        self._add(self._servicer(broker, *self._more), server)


class FailsToOpen(Plugin):
    """One that says why."""

    async def open(self, broker: Broker) -> None:
        """Needs what is not there."""
        print("what open has printed", file=sys.stderr, flush=True)
        raise BridgeError(Code.FAILED_PRECONDITION, "the database is not there")


def make_set(version: int, names: list[str], *, blocking: bool, stuck: bool) -> dict[str, Plugin]:
    """The plugins of a version."""
    known: dict[str, Plugin] = {
        "kv": ServicePlugin(kv_pb2_grpc.add_KVServicer_to_server, BlockingKV() if blocking else KV()),
        "counter": WithBroker(counter_pb2_grpc.add_CounterServicer_to_server, BlockingCounter if blocking else Counter),
        "streamer": ServicePlugin(probe_pb2_grpc.add_StreamerServicer_to_server, Streamer()),
        "probe": WithBroker(probe_pb2_grpc.add_ProbeServicer_to_server, StuckProbe if stuck else Probe, version),
    }
    return {name: known[name] for name in names}


def main() -> None:
    """Until the host has asked to stop."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-cookie", default="BASIC_PLUGIN=hello")
    parser.add_argument("-services", default="kv,counter,streamer,probe")
    parser.add_argument("-versions", default="1")
    parser.add_argument("-tls-cert")
    parser.add_argument("-tls-key")
    parser.add_argument("-tls-ca")
    parser.add_argument("-tls-client", default="require", choices=("none", "given", "require"))
    parser.add_argument("-noise", default="", help="printed by Python before it serves")
    parser.add_argument("-noise-times", type=int, default=1, help="how often that is printed")
    parser.add_argument("-noise-fd", default="", help="written to descriptor 1 before it serves")
    parser.add_argument("-unprotected", action="store_true", help="stdout is not protected before it serves")
    parser.add_argument("-stuck", action="store_true", help="Hang blocks the event loop")
    parser.add_argument("-open-fails", action="store_true", help="a plugin cannot be opened")
    parser.add_argument("-test", action="store_true")
    parser.add_argument("-blocking", action="store_true", help="servicers that run in threads")
    parser.add_argument("-set", action="append", default=[], help="NAME=VALUE of a setting of serve")
    flags = parser.parse_args()
    for _ in range(flags.noise_times):
        sys.stdout.write(flags.noise)
    os.write(1, flags.noise_fd.encode())
    sets: dict[int, dict[str, Plugin]] = {}
    for item in flags.versions.split(","):
        number, _, names = item.partition("=")
        chosen = names.split("+") if names else flags.services.split(",")
        sets[int(number)] = make_set(int(number), chosen, blocking=flags.blocking, stuck=flags.stuck)
    if flags.open_fails:
        sets = {1: {"fails": FailsToOpen()}}
    tls = None
    if flags.tls_cert:
        verify = {"none": "none", "given": "if_given", "require": "require"}[flags.tls_client]
        tls = static_tls(Path(flags.tls_cert), Path(flags.tls_key), authorities=Path(flags.tls_ca), verify=verify)  # type: ignore[arg-type]
    key, _, value = flags.cookie.partition("=")
    serve(
        handshake=HandshakeConfig(magic_cookie_key=key, magic_cookie_value=value),
        versioned_plugins=sets,
        tls=tls,
        test=flags.test,
        **dict(item.split("=", 1) for item in flags.set),
    )


if __name__ == "__main__":
    main()

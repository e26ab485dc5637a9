"""The plugins of the bench: how they are launched, and how a host is connected to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any, TypeVar

import grpc.aio
import pytest

from bench.cores import Cores, on
from bench.servers import environment, pyvider_python
from bridge.goplugin import Broker, HandshakeConfig, Plugin, PluginClient
from bridge.goplugin.handshake import Handshake
from bridge.goplugin.transport.identity import Identity, make_identity
from tests.goplugin.pyvider_install import COOKIE
from tests.support.go_programs import build

__all__ = ["MAX_MESSAGE", "SUBJECTS", "Running", "Subject", "available", "discard", "launch", "run", "turns"]

MAX_MESSAGE = 256 << 20
"""Bytes; more than any message here."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A plugin, and how a host is connected to it."""

    label: str
    program: str
    """``ours``, ``pyvider`` or ``go``."""
    against: str
    """Label of what it is compared with."""
    tls: bool = False
    mux: bool = False
    own_client: bool = False
    """Called by gRPC's own TLS in place of our host's."""


SUBJECTS = (
    Subject("pyvider, plain", "pyvider", "pyvider, plain"),
    Subject("ours, plain", "ours", "pyvider, plain"),
    Subject("Go, plain", "go", "pyvider, plain"),
    Subject("ours, plain, multiplexed", "ours", "ours, plain", mux=True),
    Subject("Go, plain, multiplexed", "go", "Go, plain", mux=True),
    Subject("pyvider, TLS", "pyvider", "pyvider, TLS", tls=True, own_client=True),
    Subject("pyvider, TLS, called by our host", "pyvider", "pyvider, TLS", tls=True),
    Subject("ours, AutoMTLS", "ours", "pyvider, TLS", tls=True),
    Subject("Go, AutoMTLS", "go", "pyvider, TLS", tls=True),
    Subject("ours, AutoMTLS, multiplexed", "ours", "ours, AutoMTLS", tls=True, mux=True),
    Subject("Go, AutoMTLS, multiplexed", "go", "Go, AutoMTLS", tls=True, mux=True),
)
"""pyvider's TLS verifies no client."""

T = TypeVar("T")


def turns(items: Sequence[T], number: int) -> list[T]:
    """The order of a round. It differs from round to round, so that nobody always follows the same one."""
    first = number // 2 * 5 % len(items)
    order = [*items[first:], *items[:first]]
    return order[::-1] if number % 2 else order


@dataclass(frozen=True, slots=True)
class Running:
    """A plugin, and a channel to it."""

    subject: Subject
    pid: int
    channel: grpc.aio.Channel
    kill: Callable[[], Any]
    """A coroutine function: ends it as hosts do, and returns when its process is gone."""


class _Channel(Plugin):
    """For who makes calls without stubs."""

    def client(self, channel: Any, broker: Broker) -> Any:
        return channel


def command(program: str) -> list[str]:
    """Of a plugin that serves KV, Streamer and Probe. Raises ``RuntimeError`` if that cannot be had."""
    if program == "ours":
        return [sys.executable, "-m", "bench.goplugin.plugin"]
    if program == "pyvider":
        return [str(pyvider_python()), "-m", "tests.goplugin.pyvider_plugin"]
    try:
        return [str(build("plugin")), "-services", "kv,streamer,probe", "-max-message", str(MAX_MESSAGE)]
    except pytest.skip.Exception as reason:
        raise RuntimeError(str(reason)) from None


def available() -> list[Subject]:
    """The subjects that can be run here; says why others cannot."""
    missing = set()
    for program in ("ours", "pyvider", "go"):
        try:
            command(program)
        except RuntimeError as error:
            print(f"bench: without {program}: {error}", file=sys.stderr)
            missing.add(program)
    return [subject for subject in SUBJECTS if subject.program not in missing]


def variables(subject: Subject) -> dict[str, str]:
    """The environment of the plugin, but for what hosts add."""
    peer = {"PLUGIN_LOG_LEVEL": "ERROR", "PLUGIN_AUTO_MTLS": str(subject.tls).lower()}
    return environment({**COOKIE, **(peer if subject.program == "pyvider" else {})})


def launch(subject: Subject, cores: Cores, identity: Identity) -> tuple[subprocess.Popen[bytes], Handshake]:
    """The process, when it has said where it listens. Nobody is connected to it."""
    added = {"PLUGIN_PROTOCOL_VERSIONS": "1"}
    if subject.tls:
        added["PLUGIN_CLIENT_CERT"] = identity.certificate.decode()
    if subject.mux:
        added["PLUGIN_MULTIPLEX_GRPC"] = "true"
    arguments, env = command(subject.program), {**variables(subject), **added}
    with on(cores.servers):
        process = subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    try:
        return process, Handshake.parse(line)
    except BaseException:
        process.kill()
        process.wait()
        raise


def discard(process: subprocess.Popen[bytes], line: Handshake) -> None:
    """Ends a plugin by force, with the socket that it leaves."""
    process.kill()
    process.communicate()
    Path(line.address).unlink(missing_ok=True)


def _move(pid: int, cores: frozenset[int]) -> None:
    """Puts all threads of a process on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir() if cores else ():
        os.sched_setaffinity(int(thread.name), cores)


@asynccontextmanager
async def run(subject: Subject, cores: Cores) -> AsyncIterator[Running]:
    """The plugin and its host, until the block ends."""
    if subject.own_client:
        async with _called_by_grpc(subject, cores) as running:
            yield running
        return
    client = PluginClient(
        cmd=command(subject.program),
        handshake=HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello"),
        plugins={"": _Channel()},
        auto_mtls=subject.tls,
        multiplex=subject.mux,
        skip_host_env=True,
        env=variables(subject),
    )
    await client.start()
    try:
        assert client.pid is not None
        _move(client.pid, cores.servers)
        yield Running(subject, client.pid, await client.dispense(""), client.kill)
    finally:
        await client.kill()


@asynccontextmanager
async def _called_by_grpc(subject: Subject, cores: Cores) -> AsyncIterator[Running]:
    identity = make_identity()
    process, line = launch(subject, cores, identity)
    credentials = grpc.ssl_channel_credentials(
        DER_cert_to_PEM_cert(line.server_certificate).encode(), identity.private_key, identity.certificate
    )
    options = [
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
    ]

    async def kill() -> None:
        with suppress(grpc.aio.AioRpcError):
            await channel.unary_unary("/plugin.GRPCController/Shutdown")(b"")
        process.wait()

    try:
        async with grpc.aio.secure_channel(f"unix:{line.address}", credentials, options) as channel:
            yield Running(subject, process.pid, channel, kill)
    finally:
        discard(process, line)

"""What a nursery and its zygote say to each other: one msgpack array in each packet of a Unix socket.

    nursery ─▶ zygote   Setup, Fork (with the worker's socket and output), Kill
    zygote ─▶ nursery   Ready or StartFailed, Born, NotBorn, Exited

The end of the socket means the same on both sides: the other one is gone.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "MAX_PACKET",
    "Born",
    "Exited",
    "Fork",
    "FromNursery",
    "FromZygote",
    "Kill",
    "NotBorn",
    "Ready",
    "Setup",
    "StartFailed",
    "read_from_nursery",
    "read_from_zygote",
    "write",
]

MAX_PACKET = 65536
"""Bytes; what is longer would be cut by the kernel, so texts are."""


class Setup(msgspec.Struct, array_like=True, tag=1):
    """The first message: what to import."""

    parent: int
    """Process id of the server."""
    adapters: list[str]
    """As for ``bridge.loader.load_adapters``."""
    target: str
    """``module:function``; called in each worker with its socket and the adapter classes."""


class Fork(msgspec.Struct, array_like=True, tag=2):
    """Start a worker; with two descriptors, its end of the socket and what its stdout and stderr go to."""

    id: int


class Kill(msgspec.Struct, array_like=True, tag=3):
    """Send a signal to the group of a worker. Without meaning for one that was reaped."""

    pid: int
    signal: int


class Ready(msgspec.Struct, array_like=True, tag=17):
    """Everything is imported."""

    threads: list[str]
    """Names of threads that the imports have started and that no worker will have."""


class StartFailed(msgspec.Struct, array_like=True, tag=18):
    """Something cannot be imported; the zygote ends."""

    message: str
    reason: str
    traceback: str


class Born(msgspec.Struct, array_like=True, tag=19):
    """A worker runs."""

    id: int
    pid: int


class NotBorn(msgspec.Struct, array_like=True, tag=20):
    """The system has no room for another process."""

    id: int
    problem: str


class Exited(msgspec.Struct, array_like=True, tag=21):
    """A worker was reaped, and what was left of its group got SIGKILL."""

    pid: int
    code: int | None
    signal: int | None


FromNursery = Setup | Fork | Kill
FromZygote = Ready | StartFailed | Born | NotBorn | Exited

write = msgspec.msgpack.Encoder().encode
read_from_nursery = msgspec.msgpack.Decoder(FromNursery).decode
read_from_zygote = msgspec.msgpack.Decoder(FromZygote).decode

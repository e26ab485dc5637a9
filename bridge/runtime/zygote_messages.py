"""What a nursery and its zygote say to each other: one msgpack array in each packet of a Unix socket.

    nursery ─▶ zygote   Setup (with its argument), Fork (with the worker's socket and output), Kill
    zygote ─▶ nursery   Begun, Ready or StartFailed, Born, NotBorn, Exited

The end of the socket means the same on both sides: the other one is gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from .msgpack import pack, unpack

__all__ = [
    "MAX_PACKET",
    "Begun",
    "Born",
    "Exited",
    "Fork",
    "Kill",
    "Message",
    "NotBorn",
    "Ready",
    "Setup",
    "StartFailed",
    "read",
    "write",
]

MAX_PACKET = 65536
"""Bytes; what is longer would be cut by the kernel, so texts are."""


class Setup(NamedTuple):
    """The first message, with one descriptor: a file with the argument of ``preload``, as UTF-8."""

    parent: int
    """Process id of the server."""
    preload: str
    """``module:function``; called once, with the argument."""
    run: str
    """``module:function``; called in each worker with its socket and what ``preload`` has returned."""
    limits: dict[str, int]
    """Of each worker: names of ``RLIMIT_*`` without that prefix (getrlimit(2)), and their values."""


class Fork(NamedTuple):
    """Start a worker; with two descriptors, its end of the socket and what its stdout and stderr go to."""

    id: int


class Kill(NamedTuple):
    """Send a signal to the group of a worker. Without meaning for one that was reaped."""

    pid: int
    signal: int


class Begun(NamedTuple):
    """The interpreter is one."""

    version: str
    """Such as ``3.12.1``."""


class Ready(NamedTuple):
    """``preload`` has returned."""

    threads: list[str]
    """Names of threads that it has started and that no worker will have."""


class StartFailed(NamedTuple):
    """``preload`` has failed; the zygote ends."""

    message: str
    reason: str
    """That of the error if it has one, or else the name of its class."""
    traceback: str


class Born(NamedTuple):
    """A worker runs."""

    id: int
    pid: int


class NotBorn(NamedTuple):
    """The system has no room for another process."""

    id: int
    problem: str


class Exited(NamedTuple):
    """A worker was reaped, and what was left of its group got SIGKILL."""

    pid: int
    code: int | None
    signal: int | None


Message = Union[Setup, Fork, Kill, Begun, Ready, StartFailed, Born, NotBorn, Exited]

_NUMBER = (int, type(None))
_FORMS: dict[int, tuple[Any, tuple[Any, ...]]] = {
    1: (Setup, (int, str, str, dict)),
    2: (Fork, (int,)),
    3: (Kill, (int, int)),
    16: (Begun, (str,)),
    17: (Ready, (list,)),
    18: (StartFailed, (str, str, str)),  # ``bootstrap`` writes one of these by itself
    19: (Born, (int, int)),
    20: (NotBorn, (int, str)),
    21: (Exited, (int, _NUMBER, _NUMBER)),
}
_TAGS = {kind: tag for tag, (kind, _) in _FORMS.items()}


def write(message: Message) -> bytes:
    """A message as a packet."""
    return pack((_TAGS[type(message)], *message))


def read(packet: bytes) -> Message:
    """A packet as a message. Raises ``ValueError`` for what is none."""
    values = unpack(packet)
    if not isinstance(values, list) or not values or not isinstance(values[0], int) or values[0] not in _FORMS:
        raise ValueError("a packet that is no message")
    kind, types = _FORMS[values.pop(0)]
    if len(values) != len(types) or not all(map(isinstance, values, types)):
        raise ValueError(f"a packet that is no {kind.__name__}")
    message: Message = kind(*values)
    return message

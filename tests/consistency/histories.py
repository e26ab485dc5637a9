"""Clients that use one variable at the same time, and a record of what they saw."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from bridge.errors import BridgeError, Code
from bridge.host import CallScope, Host
from bridge.variables import Write
from tests.consistency.linearizability import Mismatch, Operation, linearize, show

__all__ = ["CLIENTS", "OPERATIONS", "Outage", "Recorder", "assert_linearizable", "record", "use"]

CLIENTS = 8
OPERATIONS = 50
"""In one history, of all clients together."""
NAME = "x"

_MIX = {"read": 5, "write": 2, "cas": 5, "delete": 1}
_PATIENCE = 10.0
"""Seconds that no operation takes."""
_UNKNOWN = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
"""What an operation ends with of which nobody can say whether it took effect."""


class Outage:
    """Tells clients when there is somebody to talk to."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._over.set()

    def begin(self) -> None:
        """From now on there is nobody."""
        self._over.clear()

    def end(self) -> None:
        """From now on there is."""
        self._over.set()

    async def over(self) -> None:
        """Returns when there is somebody."""
        await asyncio.sleep(0)  # who fails again and again at once must not keep the loop from the timeout that ends it
        await self._over.wait()


class Recorder:
    """Writes down operations; what is before and after is told by one counter."""

    def __init__(self) -> None:
        self.history: list[Operation] = []
        self._instants = itertools.count(1)
        self._begun = 0
        self._progress = asyncio.Condition()

    async def perform(self, client: int, kind: str, args: tuple[int, ...], call: Awaitable[Any]) -> Any:
        """Awaits the call and writes down what came of it; the result, or ``None`` if that is unknown."""
        async with self._progress:
            self._begun += 1
            self._progress.notify_all()
        invoked = next(self._instants)
        try:
            result = await call
        except BridgeError as error:
            if error.code in _UNKNOWN:
                self.history.append(Operation(client, kind, args, None, invoked, None))
            elif error.reason != "CONTENTION":  # after that one nothing happened, so there is nothing to write down
                raise
            return None
        self.history.append(Operation(client, kind, args, result, invoked, next(self._instants)))
        return result

    async def begun(self, count: int) -> None:
        """Returns when so many operations have begun."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._begun >= count)


async def record(
    hosts: Sequence[Host],
    session_id: str,
    seed: object,
    *,
    impatience: float = 0.0,
    recorder: Recorder | None = None,
    outage: Outage | None = None,
) -> list[Operation]:
    """A history of clients who read, write, compare-and-set and delete at random, and at last of a read by each host.

    Args:
        hosts: ways to the session; the clients are spread over them. Looked at for each operation anew.
        session_id: an open session.
        seed: decides what the clients do; when they do it is up to the loop and the operating system.
        impatience: share of the operations that clients give up after a moment.
        recorder: where to write it down.
        outage: what clients wait for after an operation whose outcome is unknown.
    """
    recorder = recorder or Recorder()
    outage = outage or Outage()
    tickets = iter(range(1, OPERATIONS + 1))

    async def run(client: int) -> None:
        rng = random.Random(f"{seed}/{client}")
        version = 0
        for ticket in tickets:  # shared by the clients; so each value is written by one operation
            kind = rng.choices(list(_MIX), list(_MIX.values()))[0]
            args = {"write": (ticket,), "cas": (version, ticket)}.get(kind, ())
            call = use(hosts[client % len(hosts)], session_id, kind, args)
            if rng.random() < impatience:
                call = _hurry(call, round(2 ** rng.uniform(0, 7)))
            result = await recorder.perform(client, kind, args, call)
            if result is None:
                await outage.over()
            else:
                version = _version(result)
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for client in range(CLIENTS):
            group.create_task(run(client))
    for index, host in enumerate(hosts):
        # A client of its own each: the last thing that is seen through every host.
        await recorder.perform(CLIENTS + index, "read", (), use(host, session_id, "read", ()))
    return recorder.history


def _version(result: Any) -> int:
    """The version that a client knows after a result."""
    match result:
        case (_, int(version)) | Mismatch(version):
            return version
        case bool():
            return 0
    assert isinstance(result, int)
    return result


async def _hurry(call: Coroutine[Any, Any, Any], steps: int) -> Any:
    """Gives up a call after so many steps of the event loop; it is then CANCELLED, if that was soon enough."""
    task = asyncio.create_task(call)
    while steps and not task.done():
        await asyncio.sleep(0)
        steps -= 1
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        raise BridgeError(Code.CANCELLED, "the client gave up")
    return task.result()


async def use(host: Host, session_id: str, kind: str, args: tuple[int, ...]) -> Any:
    """One operation on the variable; its result as in ``Operation``."""
    scope = CallScope(session_id, deadline=time.monotonic() + _PATIENCE)
    try:
        match kind, args:
            case "read", ():
                found = (await host.get_variables(scope, [NAME])).get(NAME)
                return (None, 0) if found is None else (found.value, found.version)
            case "write", (value,):
                return (await host.set_variables(scope, [Write(name=NAME, value=value)]))[NAME]
            case "cas", (base, value):
                write = Write(name=NAME, value=value, expected_version=base)
                return (await host.set_variables(scope, [write]))[NAME]
            case "delete", ():
                await host.delete_variable(scope, NAME)
                return True
    except BridgeError as error:
        if error.reason == "VERSION_MISMATCH":
            return Mismatch(int(error.details.metadata["current_version"]))
        if error.reason == "VARIABLE_NOT_FOUND":
            return False
        raise
    raise ValueError(f"no operation {kind} of {len(args)} arguments")


def assert_linearizable(history: Sequence[Operation], seed: object) -> None:
    """Fails with the seed and the history unless one sequential variable explains it."""
    assert linearize(history) is not None, f"not linearizable, seed {seed}:\n{show(history)}"

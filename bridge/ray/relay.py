"""The process that stands for a worker of the cluster on the server's machine.

The server starts, uses, watches and kills it as any other worker; what a worker does it has done by a process on the
cluster. So all that is Ray's (its threads, its memory, its connections, and that it ends a process which has lost its
cluster) is in a process that the server can lose.

    server ─ pipe ─ relay ─ Ray ─ RemoteWorker ─ pipe ─ agent
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bridge._version import __version__
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.ray.actor import RemoteWorker
from bridge.ray.carrier import Carrier, answer_of, cause_of
from bridge.ray.pipe import FramePipe
from bridge.ray.plan import Plan
from bridge.ray.prints import tidied
from bridge.status import to_status
from bridge.worker.frames import NOT_PLACED, Failed, encode

__all__ = ["LOST", "prepare", "run"]

PROBE_TIME = 3.0
"""Seconds that the address of a cluster has to take a connection."""
LAST_PRINTS = 0.3
"""Seconds that what a lost process has printed has to arrive."""
CONCURRENCY = 16
"""Methods of an actor that may run at the same time; the carrier has three."""

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as shells show it."""
LOST = os.EX_UNAVAILABLE
"""Exit code after the loss of the process on the cluster."""


def prepare(argument: str) -> Plan:
    """Imports what relays need, in the process that they are forked from.

    Args:
        argument: a ``Plan`` as JSON.
    """
    # Each line that a tool prints goes into the server's log, as it is.
    os.environ["RAY_DEDUP_LOGS"] = os.environ["RAY_COLOR_PREFIX"] = "0"
    import ray  # noqa: F401

    return msgspec.json.decode(argument, type=Plan)


def run(sock: socket.socket, plan: Plan) -> NoReturn:
    """Runs a relay in a process of its own, which ends with it."""
    code = 1
    try:
        with tidied():
            code = asyncio.run(_run(FramePipe(sock), plan))
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _run(pipe: FramePipe, plan: Plan) -> int:
    try:
        await _connect(plan)
        actor = await _hire(plan)
    except BridgeError as error:
        await pipe.write(encode(Failed(to_status(error))))
        return 1
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _terminate, actor)
    try:
        await Carrier(actor, pipe).carry(actor.serve.remote(plan.adapters, sys.path))
    except Exception as error:  # noqa: BLE001 - Ray's, of many kinds
        await asyncio.sleep(LAST_PRINTS)
        print(f"the process on the cluster is lost: {cause_of(error)}", file=sys.stderr)  # noqa: T201 - to the server
        return LOST
    _dismiss(actor)
    return 0


def _terminate(actor: Any) -> None:
    _dismiss(actor)
    os._exit(TERMINATED)


async def _connect(plan: Plan) -> None:
    """Raises ``BridgeError`` FAILED_PRECONDITION, reason ``RAY_UNREACHABLE``."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)  # else each worker would say how the cluster is protected
    await _probe(plan.address)
    try:
        ray.init(
            address=plan.address,
            namespace=plan.namespace or None,
            runtime_env=plan.runtime_env or None,
            configure_logging=False,
            log_to_driver=True,
        )
    except Exception as error:
        raise _unreachable(plan.address, cause_of(error)) from error


async def _probe(address: str) -> None:
    """Asks whether anybody listens: Ray itself would try for a minute or more."""
    at = _known() if address == "auto" else address
    host, colon, port = at.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # Ray knows more kinds of addresses
    try:
        async with asyncio.timeout(PROBE_TIME):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        raise _unreachable(address, str(error) or f"no answer of {at} within {PROBE_TIME:g} s") from None
    writer.close()


def _known() -> str:
    """Where Ray will look for the cluster of this machine, as far as that can be told: the file stays when a cluster
    has died."""
    try:
        file = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # noqa: S108 - Ray's own
        return os.environ.get("RAY_ADDRESS") or file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _unreachable(address: str, problem: str) -> BridgeError:
    message = f"there is no Ray cluster at {address!r} for tools of isolation 'ray' (--ray-address): {problem}"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="RAY_UNREACHABLE")


async def _hire(plan: Plan) -> Any:
    """The handle of a process on the cluster.

    Raises ``BridgeError``: of reason ``NOT_PLACED`` if there is no room for it; UNAVAILABLE, reason
    ``WORKER_START_FAILED``, if it cannot start; FAILED_PRECONDITION, reason ``VERSION_MISMATCH``, if it has another
    version of tool-bridge, and ``BAD_RESOURCES`` if Ray does not take what it needs.
    """
    import ray

    try:
        actor = ray.remote(RemoteWorker).options(max_concurrency=CONCURRENCY, **plan.needs.options()).remote()
    except ValueError as error:
        message = f"Ray does not take the resources {plan.needs}: {error}"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="BAD_RESOURCES") from error
    try:
        async with asyncio.timeout(plan.timeout):
            version, node, pid = await answer_of(actor.begin.remote())
    except TimeoutError:
        raise _not_placed(plan, [node["Resources"] for node in ray.nodes() if node["Alive"]]) from None
    except Exception as error:  # Ray's, of many kinds
        message = f"a worker could not start on the cluster: {cause_of(error)}"
        raise BridgeError(Code.UNAVAILABLE, message, reason="WORKER_START_FAILED") from error
    if version != __version__:
        message = f"{node} of the cluster has tool-bridge {version}, and the server {__version__}: install the same"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="VERSION_MISMATCH")
    print(f"runs on {node} of the cluster as process {pid}")  # noqa: T201 - to the server
    return actor


def _not_placed(plan: Plan, nodes: list[Any]) -> BridgeError:
    needs, waited = plan.needs, f"none has come within {plan.timeout:g} s (--ray-start-timeout)"
    if all(map(needs.lacks, nodes)):
        there = f"{len(nodes)} nodes, the most that one has: {needs.most(nodes)}"
        message = f"no node of the Ray cluster has {needs} ({there}), and {waited}"
        return BridgeError(Code.FAILED_PRECONDITION, message, reason=NOT_PLACED)
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"no node of the Ray cluster has room for a worker with {needs}, and {waited}; try again later",
        reason=NOT_PLACED,
        details=ErrorDetails(retry_after=1.0),
    )


def _dismiss(actor: Any) -> None:
    import ray

    ray.kill(actor)

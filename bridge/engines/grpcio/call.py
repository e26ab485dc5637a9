"""One RPC on a grpc.aio server: what a method sees of it, and how it ends with a status."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import grpc.aio

from bridge.call import Headers
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.status import DETAILS_KEY, to_status, wire_message

__all__ = ["GrpcioCall", "Metadata", "abort", "end", "not_sent"]

log = logging.getLogger("bridge.engine")

_STATUS = {code: grpc.StatusCode[code.name] for code in Code}

# grpcio reports "no deadline" as a time so far away that no deadline can be meant (about 292 years).
_FOREVER = 10.0 * 365 * 86400


class Metadata(Mapping[str, str]):
    """Metadata of a call, converted when somebody looks for more than one header: most calls are answered without."""

    __slots__ = ("_context", "_found")

    def __init__(self, context: Any) -> None:
        self._context = context
        self._found: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._found is None:
            metadata = self._context.invocation_metadata() or ()
            self._found = {key: value for key, value in metadata if isinstance(value, str)}
        return self._found

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def get(self, key: str, default: Any = None) -> Any:
        # For the one header that every call is asked for, and hardly one has: half the time of making a dict.
        if self._found is None:
            for name, _ in self._context.invocation_metadata() or ():
                if name == key:
                    return self._all().get(key, default)
            return default
        return self._found.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class GrpcioCall:
    """A ServerCall over a ServicerContext."""

    __slots__ = ("_context", "failing", "principal", "write")

    def __init__(self, context: Any) -> None:
        self._context = context
        self.failing: asyncio.Task[None] | None = None
        """Sends the status that ``fail`` was given."""
        self.principal = ""
        self.write = context.write

    @property
    def headers(self) -> Headers:
        return Metadata(self._context)

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None or remaining > _FOREVER else remaining

    async def start(self) -> None:
        await self._context.send_initial_metadata(())

    def fail(self, error: BridgeError) -> None:
        self.failing = asyncio.create_task(_fail(self._context, error))

    def certificate_name(self) -> str | None:
        """Common name of the client's verified certificate; ``None`` on a Unix socket, which has no TLS."""
        facts = self._context.auth_context()
        if facts.get("transport_security_type") != [b"ssl"]:
            return None
        names = facts.get("x509_common_name") or ()
        return names[0].decode("utf-8", "replace") if names else ""


async def end(call: GrpcioCall, context: Any, error: BaseException | None) -> None:
    """Ends the RPC: by the status of an error, unless ``fail`` was first. Raises, as ``ServicerContext.abort`` does."""
    if error is not None and call.failing is None:
        await abort(context, error)
    if call.failing is not None:
        await call.failing
    raise asyncio.CancelledError  # to grpc.aio: there is nothing more to send


async def _fail(context: Any, error: BridgeError) -> None:
    try:
        await abort(context, error)
    except (grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
        pass  # how abort ends; or the RPC has its status already, or no client any more


def not_sent() -> BridgeError:
    """How a write ends when the client has left, or has been told that the message is too large."""
    return BridgeError(Code.UNKNOWN, "the answer could not be sent", reason="NOT_SENT")


async def abort(context: Any, error: BaseException) -> None:
    """Ends the RPC with the status of an error. Raises, as ``ServicerContext.abort`` does."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, grpc.aio.InternalError):
        error = not_sent()
    if not isinstance(error, BridgeError):
        error_id = secrets.token_hex(8)
        log.error("a bug in tool-bridge (error id %s)", error_id, exc_info=error)
        error = BridgeError(
            Code.INTERNAL,
            f"the server failed in its own code; its log has the details under error id {error_id}",
            reason="INTERNAL",
            details=ErrorDetails(metadata={"error_id": error_id}),
        )
    context.set_trailing_metadata((*(context.trailing_metadata() or ()), (DETAILS_KEY, to_status(error))))
    try:
        await context.abort(_STATUS[error.code], wire_message(error))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the client is gone: nobody to tell

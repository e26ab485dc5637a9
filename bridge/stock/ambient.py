"""What stock adapters find in modules of Snakepit's package: a correlation id, where telemetry goes, a connection.

None of these modules is imported on anybody's behalf, except for a stub, when an adapter asks for one.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import lru_cache
from typing import Any

__all__ = ["note_correlation", "stub"]

_TRACING = "snakepit_bridge.otel_tracing"
_TELEMETRY = "snakepit_bridge.telemetry.manager"
_ADDRESSES = ("SNAKEPIT_GRPC_ADDRESS", "SNAKEPIT_ELIXIR_ADDRESS")


def note_correlation(correlation_id: str) -> None:
    """Tells stock code whose call it works for: its log lines have the id, and its telemetry goes to who collects it.

    To be called in the context of the call, before anything of an adapter.
    """
    if correlation_id and (tracing := sys.modules.get(_TRACING)) is not None:
        tracing.set_correlation_id(correlation_id)
    if (manager := sys.modules.get(_TELEMETRY)) is not None and manager.get_backend() is None:
        from bridge.snakepit.telemetry_relay import StockBackend, is_collected

        if is_collected():
            manager.set_backend(StockBackend())


def stub() -> Any:
    """A stub of Snakepit's ``BridgeService`` at the address of its listener, made once in a process.

    Raises ``RuntimeError`` if nobody has said where that is, or Snakepit's generated modules are not installed.
    """
    address = next(filter(None, map(os.environ.get, _ADDRESSES)), None)
    if address is None:
        raise RuntimeError(f"context.stub has nowhere to connect to: {' and '.join(_ADDRESSES)} are not set")
    return _stub(address)


@lru_cache(maxsize=1)
def _stub(address: str) -> Any:
    try:
        module = importlib.import_module("snakepit_bridge_pb2_grpc")
    except ImportError as error:
        raise RuntimeError(
            "context.stub needs Snakepit's own module snakepit_bridge_pb2_grpc, and it cannot be imported: put "
            "Snakepit's priv/python on PYTHONPATH, or use call_elixir_tool, which does without"
        ) from error
    # The generated module has gRPC at hand; as everywhere in a worker, the size of messages is for the other side to
    # limit.
    options = [("grpc.max_receive_message_length", -1)]
    return module.BridgeServiceStub(module.grpc.insecure_channel(address, options=options))

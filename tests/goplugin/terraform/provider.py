"""A provider of Terraform with one resource, ``py_note``: a text, of which it computes the size."""

from __future__ import annotations

from bridge.goplugin import HandshakeConfig, protect_stdout, serve

protect_stdout()

import logging  # noqa: E402
import sys  # noqa: E402

import msgspec  # noqa: E402

from bridge.engines.base import Method, ServerCall, Unary  # noqa: E402
from bridge.goplugin import Broker, Plugin, Services  # noqa: E402
from tests.goplugin.terraform import provider_pb2 as wire  # noqa: E402

HANDSHAKE = HandshakeConfig(
    magic_cookie_key="TF_PLUGIN_MAGIC_COOKIE",
    magic_cookie_value="d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    protocol_version=6,
)
"""As terraform-plugin-go has it (tf6server/server.go)."""

log = logging.getLogger("provider")


async def get_schema(call: ServerCall, request: bytes) -> bytes:
    """Of the provider, which has nothing to configure, and of its resource."""
    print("printed by the provider")
    text = wire.Attribute(name="text", type=b'"string"', required=True)
    size = wire.Attribute(name="size", type=b'"number"', computed=True)
    note = wire.Schema(version=1, block=wire.Block(attributes=[text, size]))
    schemas = wire.Schemas(provider=wire.Schema(block=wire.Block()), resources={"py_note": note})
    return schemas.SerializeToString()


async def agree(call: ServerCall, request: bytes) -> bytes:
    """There is nothing wrong."""
    return b""


async def configure(call: ServerCall, request: bytes) -> bytes:
    """Says so in the log."""
    log.info("configured", extra={"answer": 42})
    return b""


async def upgrade(call: ServerCall, request: bytes) -> bytes:
    """The state as it was stored."""
    return _state(wire.Value(json=wire.UpgradeRequest.FromString(request).state.json))


async def read(call: ServerCall, request: bytes) -> bytes:
    """The state as it is."""
    return _state(wire.ReadRequest.FromString(request).state)


async def plan(call: ServerCall, request: bytes) -> bytes:
    """The size of the text is known at once."""
    proposed = wire.ChangeRequest.FromString(request).state
    note = msgspec.msgpack.decode(proposed.msgpack, ext_hook=lambda code, data: None)
    if note is not None:
        note["size"] = len(note["text"])
    return _state(wire.Value(msgpack=msgspec.msgpack.encode(note)))


async def apply(call: ServerCall, request: bytes) -> bytes:
    """What was planned."""
    return _state(wire.ChangeRequest.FromString(request).state)


def _state(value: wire.Value) -> bytes:
    return wire.State(state=value).SerializeToString()


METHODS: dict[str, Unary] = {
    "GetProviderSchema": get_schema,
    "ValidateProviderConfig": agree,
    "ConfigureProvider": configure,
    "ValidateResourceConfig": agree,
    "UpgradeResourceState": upgrade,
    "ReadResource": read,
    "PlanResourceChange": plan,
    "ApplyResourceChange": apply,
    "StopProvider": agree,
}


class Provider(Plugin):
    """What Terraform dispenses as ``provider``."""

    def register(self, server: Services, broker: Broker) -> None:
        server.add_methods(Method(f"/tfplugin6.Provider/{name}", unary=answer) for name, answer in METHODS.items())


if __name__ == "__main__":
    serve(handshake=HANDSHAKE, plugins={"provider": Provider()}, test="--debug" in sys.argv)

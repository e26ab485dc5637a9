"""Values in ``google.protobuf.Any``: the one codec of server, host and client. ``docs/values.md`` has the table."""

from bridge.codec.api import decode, decode_fields, encode, pack, register_message, to_any
from bridge.codec.base import DEFAULT_LIMITS, Limits
from bridge.codec.tensors import Tensor

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "Tensor",
    "decode",
    "decode_fields",
    "encode",
    "pack",
    "register_message",
    "to_any",
]

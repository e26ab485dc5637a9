"""Constraints as bytes, for stores that keep bytes."""

from __future__ import annotations

import msgspec

from bridge.variables import NO_CONSTRAINTS, Constraints

__all__ = ["pack_constraints", "unpack_constraints"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Constraints).decode


def pack_constraints(constraints: Constraints) -> bytes | None:
    """The constraints as bytes; ``None``: there are none."""
    if constraints is NO_CONSTRAINTS or constraints == NO_CONSTRAINTS:
        return None
    try:
        return _encode(constraints)
    except OverflowError:  # MessagePack has integers of 64 bits; a longer bound goes as text
        bounds = {"min": _packed(constraints.min), "max": _packed(constraints.max)}
        return _encode(msgspec.structs.replace(constraints, **bounds))


def unpack_constraints(packed: bytes | None) -> Constraints:
    """The constraints that ``pack_constraints`` was given."""
    if packed is None:
        return NO_CONSTRAINTS
    try:
        return _decode(packed)
    except msgspec.ValidationError:
        fields = msgspec.msgpack.decode(packed)
        bounds = {name: int(fields[name], 16) for name in ("min", "max") if isinstance(fields[name], str)}
        return msgspec.convert(fields | bounds, Constraints)


def _packed(bound: float | None) -> float | str | None:
    return hex(bound) if isinstance(bound, int) else bound

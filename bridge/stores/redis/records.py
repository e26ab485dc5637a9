"""Records as Redis keeps them. The scripts read the beginning of one (see ``lua/session.lua``), the rest is ours."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bridge.stores.base import Change, StoredVariable
from bridge.stores.packing import pack_constraints, unpack_constraints
from bridge.variables import UpdateKind

__all__ = ["pack_change", "token_of", "unpack_head", "unpack_payloads", "unpack_record"]

_APART_FROM = 1024
"""Bytes of a payload from which it is kept apart, once for all records of a session that have it."""
_HEADER = struct.Struct("<ddB")
"""What the host knows of the header of a record: its size, the length of its payload, flags."""
_GONE, _APART, _ENDS = 1, 2, 4
_NUMBER_BYTES = 8
_HEADER_BYTES = _NUMBER_BYTES + _HEADER.size
_DIGEST_BYTES = 32
_HEAD_BYTES = 48
_TOKEN = slice(24, 48)


class _Body(msgspec.Struct, array_like=True, gc=False):
    name: str
    type: str
    payload: bytes
    """Empty if it is kept apart."""
    version: int
    kind: UpdateKind
    constraints: bytes | None
    metadata: Mapping[str, str] | None
    changed_by: str
    updated_at: float
    expires_at: float | None
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def pack_change(change: Change, token: str, blobs: list[bytes]) -> tuple[object, ...]:
    """A change as the script that commits takes it, and its blobs."""
    for record in change.records:
        _pack_record(record, blobs)
    newest = change.records[-1]
    ends = 0 if newest.expires_at is None or newest.is_gone else newest.expires_at
    return change.name, newest.version, token, ends, len(change.records)


def _pack_record(record: StoredVariable, blobs: list[bytes]) -> None:
    """A record without its number, and its payload if that is kept apart."""
    payload = record.payload
    is_apart = len(payload) >= _APART_FROM
    flags, digest = (_APART, hashlib.sha256(payload).digest()) if is_apart else (0, b"")
    if record.is_gone:
        flags |= _GONE
    elif record.expires_at is not None:
        flags |= _ENDS
    body = _Body(
        record.name,
        record.type,
        b"" if is_apart else payload,
        record.version,
        record.kind,
        pack_constraints(record.constraints),
        record.metadata or None,
        record.changed_by,
        record.updated_at,
        record.expires_at,
        record.size,
    )
    blobs.append(_HEADER.pack(record.size, len(payload), flags) + digest + _encode(body))
    if is_apart:
        blobs.append(payload)


def token_of(head: bytes) -> str:
    """What tells the commit of a newest record from all others."""
    return head[_TOKEN].decode()


def unpack_head(head: bytes, payloads: Mapping[bytes, bytes]) -> StoredVariable:
    """A newest record."""
    return unpack_record(head, payloads, _HEAD_BYTES)


def unpack_record(record: bytes, payloads: Mapping[bytes, bytes], begin: int = 0) -> StoredVariable:
    """A record, which begins at a place in what Redis gave."""
    begin += _HEADER_BYTES
    digest = None
    if record[begin - 1] & _APART:
        digest = record[begin : begin + _DIGEST_BYTES]
        begin += _DIGEST_BYTES
    body = _decode(record[begin:])
    return StoredVariable(
        name=body.name,
        type=body.type,
        payload=body.payload if digest is None else payloads[digest],
        version=body.version,
        kind=body.kind,
        constraints=unpack_constraints(body.constraints),
        metadata=body.metadata or {},
        changed_by=body.changed_by,
        updated_at=body.updated_at,
        expires_at=body.expires_at,
        size=body.size,
    )


def unpack_payloads(answer: Sequence[bytes]) -> dict[bytes, bytes]:
    """Payloads by their digests."""
    taking_turns: Iterable[bytes] = iter(answer)
    return dict(zip(taking_turns, taking_turns, strict=True))

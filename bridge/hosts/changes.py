"""Decides what a write does to a variable. Pure: what is there goes in, the change to commit comes out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge import codec
from bridge.codec import encode
from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument
from bridge.hosts.limits import HostLimits, check_metadata, check_ttl, limit_exceeded
from bridge.stores.base import Change, StoredVariable
from bridge.variable_types import check_constraints, check_value, infer_type
from bridge.variables import (
    NO_CONSTRAINTS,
    Constraints,
    Declaration,
    Variable,
    Write,
    check_name,
    check_version,
    variable_not_found,
)

__all__ = [
    "Commit",
    "decide_delete",
    "decide_register",
    "decide_write",
    "is_live",
    "unpack",
]

_JSON_TYPES = frozenset(
    f"type.googleapis.com/{name}"
    for name in (
        "bridge.v1.Json",
        "bridge.v1.BigNumber",
        "google.protobuf.Value",
        "google.protobuf.BoolValue",
        "google.protobuf.Int64Value",
        "google.protobuf.DoubleValue",
        "google.protobuf.StringValue",
    )
)
"""What the codec makes of values that JSON carries exactly."""


class Commit(msgspec.Struct, frozen=True):
    """The circumstances of a change."""

    now: float
    """Seconds since the epoch."""
    changed_by: str
    limits: HostLimits


def is_live(stored: StoredVariable, now: float) -> bool:
    """Whether its own time is not over."""
    return stored.expires_at is None or stored.expires_at > now


def unpack(stored: StoredVariable) -> Variable:
    """The variable with its value; every call makes a value of its own."""
    return Variable(
        name=stored.name,
        type=stored.type,
        value=codec.decode(AnyMessage.FromString(stored.payload)),
        version=stored.version,
        constraints=stored.constraints,
        metadata=stored.metadata,
        changed_by=stored.changed_by,
        updated_at=stored.updated_at,
        expires_at=stored.expires_at,
    )


def decide_write(write: Write, stored: StoredVariable | None, commit: Commit) -> Change:
    """What one write does. An unknown name is registered with the type of the value."""
    current = stored if stored is not None and is_live(stored, commit.now) else None
    _check_version(write.name, write.expected_version, current)
    if current is None:
        check_name(write.name)
        type_, constraints = infer_type(write.value), NO_CONSTRAINTS
        metadata: Mapping[str, str] = {}
        expires_at = None
    else:
        type_, constraints = current.type, current.constraints
        metadata, expires_at = current.metadata, current.expires_at
    if write.metadata:
        check_metadata(write.metadata, commit.limits, write.name)
        metadata = dict(write.metadata)
    if write.ttl is not None:
        expires_at = commit.now + check_ttl(write.ttl)
    value = check_value(write.name, type_, write.value, constraints)
    return _change(write.name, type_, value, constraints, metadata, expires_at, stored, commit)


def decide_register(declaration: Declaration, stored: StoredVariable | None, commit: Commit) -> Change:
    """What a declaration does: the next version of a name that is there, the first of one that is not."""
    name, type_, constraints = declaration.name, declaration.type, declaration.constraints
    check_name(name)
    check_constraints(type_, constraints)
    check_metadata(declaration.metadata, commit.limits, name)
    expires_at = None if declaration.ttl is None else commit.now + check_ttl(declaration.ttl)
    value = check_value(name, type_, declaration.value, constraints)
    return _change(name, type_, value, constraints, dict(declaration.metadata), expires_at, stored, commit)


def decide_delete(name: str, expected_version: int | None, stored: StoredVariable | None, now: float) -> Change:
    """What a deletion does; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is nothing to delete."""
    if stored is None or not is_live(stored, now):
        check_name(name)
        raise variable_not_found(name)
    _check_version(name, expected_version, stored)
    return Change(name, stored.version, None)


def _check_version(name: str, expected: int | None, current: StoredVariable | None) -> None:
    if expected is None:
        return
    check_version(expected)
    version = 0 if current is None else current.version
    if version == expected:
        return
    check_name(name)
    message = f"{name} is at version {version}, not {expected}: read it again, then repeat"
    details = ErrorDetails(metadata={"name": name, "current_version": str(version)})
    raise BridgeError(Code.ABORTED, message, reason="VERSION_MISMATCH", details=details)


def _change(
    name: str,
    type_: str,
    value: Any,
    constraints: Constraints,
    metadata: Mapping[str, str],
    expires_at: float | None,
    stored: StoredVariable | None,
    commit: Commit,
) -> Change:
    payload = _pack(name, type_, value)
    size = len(payload) + len(name)
    if metadata or constraints is not NO_CONSTRAINTS:
        size += sum(len(key) + len(text) for key, text in metadata.items())
        size += sum(map(len, constraints.choices)) + 8 * len(constraints.shape or ())
    if size > commit.limits.max_variable_bytes:
        advice = f"it has {size} bytes: keep large data elsewhere and store where it is"
        raise limit_exceeded("max_variable_bytes", commit.limits.max_variable_bytes, name, advice)
    there = 0 if stored is None else stored.version
    variable = StoredVariable(
        name=name,
        type=type_,
        payload=payload,
        # A name whose time is over starts again, although the store still has to replace what it holds.
        version=there + 1 if stored is not None and is_live(stored, commit.now) else 1,
        constraints=constraints,
        metadata=metadata,
        changed_by=commit.changed_by,
        updated_at=commit.now,
        expires_at=expires_at,
        size=size,
    )
    return Change(name, there, variable)


def _pack(name: str, type_: str, value: Any) -> bytes:
    packed = AnyMessage()
    encode(value, packed, name)
    if type_ == "json" and (packed.type_url not in _JSON_TYPES or isinstance(value, Decimal)):
        description = "expected a JSON value, got one that holds something JSON cannot carry exactly"
        raise invalid_argument(name, description, reason="VALUE_REFUSED")
    return packed.SerializeToString()

"""Decides what a write does to a variable. Pure: what is there goes in, the change to commit comes out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge import codec
from bridge.codec import to_any
from bridge.codec.wire import any_bytes
from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument
from bridge.hosts.limits import HostLimits, check_metadata, check_ttl, limit_exceeded
from bridge.stores.base import Change, StoredVariable
from bridge.variable_types import check_constraints, check_value, infer_type
from bridge.variables import (
    NO_CONSTRAINTS,
    Constraints,
    Declaration,
    UpdateKind,
    Variable,
    Write,
    check_name,
    check_version,
    variable_not_found,
)

__all__ = [
    "Commit",
    "decide_delete",
    "decide_expiry",
    "decide_register",
    "decide_rollback",
    "decide_write",
    "is_live",
    "live",
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


class Commit(msgspec.Struct, frozen=True, gc=False):
    """The circumstances of a change."""

    now: float
    """Seconds since the epoch."""
    changed_by: str
    limits: HostLimits
    floor: int = 0
    """Version after which a name without a record starts."""


def is_live(stored: StoredVariable, now: float) -> bool:
    """Whether the variable is there: not gone, and its own time is not over."""
    return not stored.is_gone and (stored.expires_at is None or stored.expires_at > now)


def live(stored: StoredVariable | None, now: float) -> StoredVariable | None:
    """The record, if there is one and the variable is there."""
    return stored if stored is not None and is_live(stored, now) else None


def unpack(stored: StoredVariable) -> Variable:
    """The variable with its value; every call makes a value of its own. One that is gone has ``None``."""
    return Variable(
        name=stored.name,
        type=stored.type,
        value=None if stored.is_gone else codec.decode(AnyMessage.FromString(stored.payload)),
        version=stored.version,
        constraints=stored.constraints,
        metadata=stored.metadata,
        changed_by=stored.changed_by,
        updated_at=stored.updated_at,
        expires_at=stored.expires_at,
    )


def decide_write(write: Write, stored: StoredVariable | None, commit: Commit) -> Change:
    """What one write does. An unknown name is registered with the type of the value."""
    current = live(stored, commit.now)
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
    payload = _pack(write.name, type_, value)
    return _next(write.name, type_, payload, constraints, metadata, expires_at, stored, current, commit)


def decide_register(declaration: Declaration, stored: StoredVariable | None, commit: Commit) -> Change:
    """What a declaration does: the next version of a name that is there, the first of one that is not."""
    name, type_, constraints = declaration.name, declaration.type, declaration.constraints
    check_name(name)
    check_constraints(type_, constraints)
    check_metadata(declaration.metadata, commit.limits, name)
    expires_at = None if declaration.ttl is None else commit.now + check_ttl(declaration.ttl)
    value = check_value(name, type_, declaration.value, constraints)
    payload, metadata = _pack(name, type_, value), dict(declaration.metadata)
    return _next(
        name,
        type_,
        payload,
        constraints,
        metadata,
        expires_at,
        stored,
        live(stored, commit.now),
        commit,
        UpdateKind.REGISTERED,
    )


def decide_delete(name: str, expected_version: int | None, stored: StoredVariable | None, commit: Commit) -> Change:
    """What a deletion does; NOT_FOUND, reason ``VARIABLE_NOT_FOUND``, if there is nothing to delete."""
    current = live(stored, commit.now)
    if current is None:
        check_name(name)
        raise variable_not_found(name)
    _check_version(name, expected_version, current)
    return Change(name, current.version, (_end(current, UpdateKind.DELETED, commit.changed_by, commit.now),))


def decide_rollback(
    target: StoredVariable, expected_version: int | None, stored: StoredVariable | None, commit: Commit
) -> Change:
    """What writing an earlier value again does.

    It must satisfy the type and constraints of today. A variable that is gone comes back with those it had, to live as
    long as the session.
    """
    name = target.name
    current = live(stored, commit.now)
    _check_version(name, expected_version, current)
    if current is None:
        type_, constraints, metadata, expires_at = target.type, target.constraints, target.metadata, None
    else:
        type_, constraints = current.type, current.constraints
        metadata, expires_at = current.metadata, current.expires_at
    payload = target.payload
    if (type_, constraints) != (target.type, target.constraints):
        payload = _pack(name, type_, check_value(name, type_, unpack(target).value, constraints))
    return _next(name, type_, payload, constraints, metadata, expires_at, stored, current, commit)


def decide_expiry(stored: StoredVariable | None, now: float) -> Change | None:
    """What the end of its own time does to a variable; ``None`` if it is not over."""
    if stored is None or stored.is_gone or is_live(stored, now):
        return None
    return Change(stored.name, stored.version, (_end(stored, UpdateKind.EXPIRED, "host", now),))


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


def _end(stored: StoredVariable, kind: UpdateKind, changed_by: str, now: float) -> StoredVariable:
    """The record that says that a variable is gone."""
    return StoredVariable(
        name=stored.name,
        type=stored.type,
        payload=b"",
        version=stored.version + 1,
        kind=kind,
        changed_by=changed_by,
        updated_at=now,
        size=len(stored.name),
    )


def _next(
    name: str,
    type_: str,
    payload: bytes,
    constraints: Constraints,
    metadata: Mapping[str, str],
    expires_at: float | None,
    stored: StoredVariable | None,
    current: StoredVariable | None,
    commit: Commit,
    kind: UpdateKind = UpdateKind.CHANGED,
) -> Change:
    size = len(payload) + len(name)
    if constraints is not NO_CONSTRAINTS or metadata:
        texts = chain(metadata, metadata.values(), constraints.choices, (constraints.pattern,))
        size += sum(len(text.encode()) for text in texts) + 8 * len(constraints.shape or ())
    if size > commit.limits.max_variable_bytes:
        advice = f"it has {size} bytes: keep large data elsewhere and store where it is"
        raise limit_exceeded("max_variable_bytes", commit.limits.max_variable_bytes, name, advice)
    # What nobody has swept yet ends before something else begins: watchers see both.
    expiry = None if stored is current else decide_expiry(stored, commit.now)
    before = commit.floor if stored is None else stored.version
    record = StoredVariable(
        name=name,
        type=type_,
        payload=payload,
        version=before + 1 if expiry is None else before + 2,
        kind=kind,
        constraints=constraints,
        metadata=metadata,
        changed_by=commit.changed_by,
        updated_at=commit.now,
        expires_at=expires_at,
        size=size,
    )
    expected = 0 if stored is None else stored.version
    return Change(name, expected, (record,) if expiry is None else (*expiry.records, record))


def _pack(name: str, type_: str, value: Any) -> bytes:
    url, content = to_any(value, name)
    if type_ == "json" and (url not in _JSON_TYPES or isinstance(value, Decimal)):
        description = "expected a JSON value, got one that holds something JSON cannot carry exactly"
        raise invalid_argument(name, description, reason="VALUE_REFUSED")
    return any_bytes(url, content)

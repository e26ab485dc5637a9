"""Sessions and variables to and from the messages of ``bridge/v1/host.proto``, for both ends of the wire.

Fields are set one by one because that is the fastest way to fill a message.
"""

from __future__ import annotations

from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from bridge import codec
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.hosts.watching import StoredUpdate
from bridge.stores.base import StoredVariable
from bridge.v1 import host_pb2
from bridge.variables import NO_CONSTRAINTS, Constraints, SessionInfo, Update, UpdateKind, Variable

__all__ = [
    "fill_constraints",
    "fill_duration",
    "fill_failure",
    "fill_history",
    "fill_session",
    "fill_stored",
    "fill_time",
    "fill_update",
    "fill_variable",
    "read_constraints",
    "read_duration",
    "read_failure",
    "read_history",
    "read_session",
    "read_time",
    "read_update",
    "read_variable",
]

_NANO = 1_000_000_000


def fill_time(message: Timestamp | Duration, seconds: float) -> None:
    """Sets a point in time (seconds since the epoch), or a time span."""
    message.seconds, message.nanos = divmod(int(seconds * _NANO), _NANO)


fill_duration = fill_time


def read_time(message: Timestamp | Duration) -> float:
    """Seconds since the epoch, or of a time span."""
    return message.seconds + message.nanos / _NANO


read_duration = read_time


def fill_session(message: host_pb2.Session, session: SessionInfo) -> None:
    """Describes a session."""
    message.session_id = session.session_id
    if session.metadata:
        message.metadata.update(session.metadata)
    fill_time(message.created_at, session.created_at)
    fill_duration(message.ttl, session.ttl)
    fill_time(message.expires_at, session.expires_at)
    message.variable_count = session.variable_count


def read_session(message: host_pb2.Session) -> SessionInfo:
    """The session a message describes."""
    return SessionInfo(
        session_id=message.session_id,
        metadata=dict(message.metadata),
        created_at=read_time(message.created_at),
        ttl=read_duration(message.ttl),
        expires_at=read_time(message.expires_at),
        variable_count=message.variable_count,
    )


def fill_variable(message: host_pb2.Variable, variable: Variable) -> None:
    """Describes a variable; its value is encoded."""
    _fill(message, variable)
    codec.encode(variable.value, message.value)


def fill_stored(message: host_pb2.Variable, stored: StoredVariable) -> None:
    """Describes a variable as it is stored; its value is copied as it is. One that is gone has none."""
    _fill(message, stored)
    if stored.payload:
        message.value.ParseFromString(stored.payload)


def fill_update(message: host_pb2.VariableUpdate, update: StoredUpdate | Update) -> None:
    """Describes what happened to a variable."""
    message.kind = cast("host_pb2.VariableUpdate.Kind", update.kind)
    if update.variable is not None:
        _fill(message.variable, update.variable)
        _fill_value(message.variable, update.variable, update.kind)
    message.positions.update(update.positions)


def read_update(message: host_pb2.VariableUpdate) -> Update:
    """What a message says that happened."""
    variable = read_variable(message.variable) if message.HasField("variable") else None
    return Update(_kind(message.kind), variable, dict(message.positions))


def fill_history(message: host_pb2.VariableHistoryEntry, variable: StoredVariable | Variable, kind: UpdateKind) -> None:
    """Describes a change."""
    message.version = variable.version
    message.type = variable.type
    message.kind = cast("host_pb2.VariableUpdate.Kind", kind)
    message.changed_by = variable.changed_by
    fill_time(message.timestamp, variable.updated_at)
    _fill_value(message, variable, kind)
    if variable.metadata:
        message.metadata.update(variable.metadata)
    if variable.constraints is not NO_CONSTRAINTS:
        fill_constraints(message.constraints, variable.constraints)


def _fill_value(
    message: host_pb2.Variable | host_pb2.VariableHistoryEntry, variable: StoredVariable | Variable, kind: UpdateKind
) -> None:
    """Sets the value after a change; there is none if the variable is gone."""
    if isinstance(variable, StoredVariable):
        if variable.payload:
            message.value.ParseFromString(variable.payload)
    elif kind not in (UpdateKind.DELETED, UpdateKind.EXPIRED):
        codec.encode(variable.value, message.value)


def read_history(name: str, message: host_pb2.VariableHistoryEntry) -> Update:
    """The change a message describes."""
    variable = Variable(
        name=name,
        type=message.type,
        value=codec.decode(message.value, path=name) if message.HasField("value") else None,
        version=message.version,
        constraints=read_constraints(message.constraints) if message.HasField("constraints") else NO_CONSTRAINTS,
        metadata=dict(message.metadata),
        changed_by=message.changed_by,
        updated_at=read_time(message.timestamp),
    )
    return Update(_kind(message.kind), variable)


def _kind(number: int) -> UpdateKind:
    """What happened; a host of a later version may know kinds that are not known here: they are changes."""
    try:
        return UpdateKind(number)
    except ValueError:
        return UpdateKind.CHANGED


def _fill(message: host_pb2.Variable, variable: Variable | StoredVariable) -> None:
    message.name = variable.name
    message.type = variable.type
    message.version = variable.version
    message.changed_by = variable.changed_by
    fill_time(message.last_updated_at, variable.updated_at)
    if variable.metadata:
        message.metadata.update(variable.metadata)
    if variable.expires_at is not None:
        fill_time(message.expires_at, variable.expires_at)
    if variable.constraints is not NO_CONSTRAINTS:
        fill_constraints(message.constraints, variable.constraints)


def read_variable(message: host_pb2.Variable) -> Variable:
    """The variable a message describes."""
    return Variable(
        name=message.name,
        type=message.type,
        value=codec.decode(message.value, path=message.name) if message.HasField("value") else None,
        version=message.version,
        constraints=read_constraints(message.constraints) if message.HasField("constraints") else NO_CONSTRAINTS,
        metadata=dict(message.metadata),
        changed_by=message.changed_by,
        updated_at=read_time(message.last_updated_at),
        expires_at=read_time(message.expires_at) if message.HasField("expires_at") else None,
    )


def fill_constraints(message: host_pb2.Constraints, constraints: Constraints) -> None:
    """Describes constraints."""
    if constraints.min is not None:
        codec.encode(constraints.min, message.min)
    if constraints.max is not None:
        codec.encode(constraints.max, message.max)
    if constraints.min_length is not None:
        message.min_length = constraints.min_length
    if constraints.max_length is not None:
        message.max_length = constraints.max_length
    if constraints.dimensions is not None:
        message.dimensions = constraints.dimensions
    if constraints.shape is not None:
        message.shape.extend(constraints.shape)
    message.pattern = constraints.pattern
    message.choices.extend(constraints.choices)


def read_constraints(message: host_pb2.Constraints) -> Constraints:
    """The constraints a message describes."""
    if not message.ByteSize():
        return NO_CONSTRAINTS
    return Constraints(
        min=codec.decode(message.min, path="constraints.min") if message.HasField("min") else None,
        max=codec.decode(message.max, path="constraints.max") if message.HasField("max") else None,
        min_length=message.min_length if message.HasField("min_length") else None,
        max_length=message.max_length if message.HasField("max_length") else None,
        pattern=message.pattern,
        choices=tuple(message.choices),
        dimensions=message.dimensions if message.HasField("dimensions") else None,
        shape=tuple(message.shape) or None,
    )


def fill_failure(message: host_pb2.VariableFailure, error: BridgeError) -> None:
    """Describes why one write of several was refused."""
    message.code = int(error.code)
    message.message = error.message
    message.reason = error.reason
    version = error.details.metadata.get("current_version")
    if version is not None:
        message.current_version = int(version)


def read_failure(name: str, message: host_pb2.VariableFailure) -> BridgeError:
    """The error a message describes."""
    try:
        code = Code(message.code)
    except ValueError:
        code = Code.UNKNOWN
    details = ErrorDetails()
    if message.reason == "VERSION_MISMATCH":
        details = ErrorDetails(metadata={"name": name, "current_version": str(message.current_version)})
    return BridgeError(code, message.message, reason=message.reason, details=details)

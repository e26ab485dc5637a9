"""What the methods of a host take and give: sessions and variables as JSON, for both ends of the wire.

The same methods are there twice: ``session.get`` and so on, which a client asks of a server, and ``host.get`` and so
on, which a server asks of a client that is a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.values import read_value, write_value
from bridge.protocols.rpc_errors import RpcError, from_rpc_error, to_rpc_error
from bridge.variables import NO_CONSTRAINTS, Constraints, Update, UpdateKind, Variable, WriteResult

__all__ = [
    "CHUNK",
    "META",
    "UPDATE",
    "ChunkNote",
    "UpdateNote",
    "VariableMessage",
    "decode_as",
    "encode",
    "read_result",
    "write_chunk",
    "write_result",
]

T = TypeVar("T")

META = "_meta"
"""The member of params that says something about the request, as MCP has it."""
CHUNK = "chunk"
"""Notification with something that a streaming tool has yielded; after the prefix of its method."""
UPDATE = "update"
"""Notification with a change that a watch has seen."""

encode = msgspec.json.Encoder().encode


def decode_as(text: bytes | Raw | None, kind: type[T]) -> T:
    """What the other side has answered. Raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``."""
    try:
        return msgspec.json.decode(b"null" if text is None else text, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"the answer of the other side is not what its method promises: {error}"
        raise BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE") from None


class VariableMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A variable."""

    name: str
    type: str
    version: int
    value: Raw | UnsetType = UNSET
    """Not there if the variable is gone."""
    constraints: Constraints | UnsetType = UNSET
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    changed_by: str = ""
    updated_at: float = 0.0
    expires_at: float | None = None

    @classmethod
    def of(cls, variable: Variable, *, is_gone: bool = False) -> VariableMessage:
        """The message of a variable."""
        return cls(
            name=variable.name,
            type=variable.type,
            version=variable.version,
            value=UNSET if is_gone else Raw(write_value(variable.value)),
            constraints=UNSET if variable.constraints == NO_CONSTRAINTS else variable.constraints,
            metadata=dict(variable.metadata),
            changed_by=variable.changed_by,
            updated_at=variable.updated_at,
            expires_at=variable.expires_at,
        )

    def read(self) -> Variable:
        """The variable. Raises ``BridgeError`` for a value that cannot be read."""
        return Variable(
            name=self.name,
            type=self.type,
            value=None if self.value is UNSET else read_value(self.value, self.name),
            version=self.version,
            constraints=NO_CONSTRAINTS if self.constraints is UNSET else self.constraints,
            metadata=self.metadata,
            changed_by=self.changed_by,
            updated_at=self.updated_at,
            expires_at=self.expires_at,
        )


class UpdateNote(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One change of a variable: params of ``session.update``, and an item of a history."""

    kind: str
    """The name of an ``UpdateKind``."""
    id: int | str | UnsetType = UNSET
    """Of the request that watches."""
    variable: VariableMessage | UnsetType = UNSET
    positions: Mapping[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, update: Update, id: int | str | UnsetType = UNSET) -> UpdateNote:
        """The message of a change."""
        is_gone = update.kind in (UpdateKind.DELETED, UpdateKind.EXPIRED)
        variable = update.variable
        return cls(
            kind=update.kind.name,
            id=id,
            variable=UNSET if variable is None else VariableMessage.of(variable, is_gone=is_gone),
            positions=dict(update.positions),
        )

    def read(self) -> Update:
        """The change; a kind that is not known here is a change."""
        kind = UpdateKind.__members__.get(self.kind, UpdateKind.CHANGED)
        return Update(kind, None if self.variable is UNSET else self.variable.read(), self.positions)


class ChunkNote(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something that a streaming tool has yielded: params of ``tools.chunk``."""

    id: int | str
    """Of the request that streams."""
    sequence: int
    """0 for the first."""
    value: Raw
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)


def write_chunk(id: int | str, sequence: int, value: Any, metadata: Mapping[str, str] | None = None) -> bytes:
    """Params of ``tools.chunk``. Raises ``BridgeError`` for a value that cannot be carried."""
    return encode(ChunkNote(id=id, sequence=sequence, value=Raw(write_value(value)), metadata=metadata or {}))


class _Written(msgspec.Struct, omit_defaults=True):
    version: int | None = None
    error: RpcError | None = None


def write_result(result: WriteResult) -> _Written:
    """What became of one write of several."""
    return _Written(error=to_rpc_error(result)) if isinstance(result, BridgeError) else _Written(result)


def read_result(text: Any) -> WriteResult:
    """What the other side says became of one write."""
    written = decode_as(text, _Written)
    if written.error is not None:
        return from_rpc_error(written.error)
    if written.version is None:
        raise BridgeError(Code.DATA_LOSS, "a write has neither a version nor an error", reason="BAD_RESPONSE")
    return written.version

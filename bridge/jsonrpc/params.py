"""Params of requests, by name or by position, as the structs that methods take; and what is said about a request."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from bridge.call_path import CALL_PATH
from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.hosts.scopes import CHANGED_BY
from bridge.jsonrpc.host_messages import META
from bridge.protocols.messages import Id
from bridge.telemetry.propagation import CORRELATION
from bridge.violations import refuse

__all__ = ["NO_META", "Meta", "Params", "bind", "by_position"]

P = TypeVar("P", bound=msgspec.Struct)

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Header = Annotated[str, msgspec.Meta(max_length=8192, pattern=r"^[ -~]*\Z")]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a request beside what it asks for. Members that nobody knows are left out."""

    session_id: str = ""
    """The session that a tool is called in."""
    timeout: _Seconds | None = None
    """Seconds in which the answer is wanted."""
    idle_timeout: _Seconds | None = None
    """Seconds that may pass between two signs of life of a tool: notes of progress and chunks."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Free text for the tool."""
    progress_token: Id | UnsetType = msgspec.field(default=UNSET, name="progressToken")
    """By which name the caller wants to hear of progress; without it, it does not."""
    traceparent: _Header = ""
    tracestate: _Header = ""
    baggage: _Header = ""
    correlation: _Header = msgspec.field(default="", name=CORRELATION)
    call_path: _Header = msgspec.field(default="", name=CALL_PATH)
    changed_by: _Header = msgspec.field(default="", name=CHANGED_BY)

    @property
    def headers(self) -> dict[str, str]:
        """What travels on with callbacks: the trace, the path of calls, who writes."""
        found = {
            "traceparent": self.traceparent,
            "tracestate": self.tracestate,
            "baggage": self.baggage,
            CORRELATION: self.correlation,
            CALL_PATH: self.call_path,
            CHANGED_BY: self.changed_by,
        }
        return {key: value for key, value in found.items() if value}


NO_META = Meta()


class Params(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the params of every method may have; its own are fields of a subclass, in the order of their positions."""

    meta: Meta = msgspec.field(default=NO_META, name=META)


def bind(method: str, params: Any, kind: type[P]) -> P:
    """The params of a method.

    Args:
        method: its name, for errors.
        params: a dict, a list, or ``None``.
        kind: what it takes.

    Raises:
        BridgeError: INVALID_ARGUMENT with a violation for every member that is missing, unknown or wrong.
    """
    if type(params) is list:
        params = by_position(f"method {method!r}", params, _positions(kind))
    members: dict[str, Any] = {} if params is None else params
    try:
        return msgspec.convert(members, kind)
    except (msgspec.ValidationError, RecursionError):
        refuse(method, members, kind, what="method")


def by_position(what: str, values: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Values by the names of their positions; for the last ones there need be none.

    Raises ``BridgeError`` INVALID_ARGUMENT that names the first one too many.
    """
    if len(values) > len(names):
        there = f"there is {', '.join(names)}" if names else "there are none"
        violation = FieldViolation(f"$[{len(names)}]", f"is one parameter too many; {there}")
        message = f"{what}: {violation.field} {violation.description}"
        details = ErrorDetails(violations=(violation,))
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="INVALID_ARGUMENT", details=details)
    return dict(zip(names, values, strict=False))


@functools.cache
def _positions(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind) if field.encode_name != META]

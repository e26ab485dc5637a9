"""Variables to and from the messages of ``bridge/v1/host.proto``: what a plugin's tools ask the host, and its answers.

Who answers looks the session up by the call on whose behalf is asked, so no request names one. Requests raise
``BridgeError`` INVALID_ARGUMENT for what cannot be asked; answers DATA_LOSS, reason ``BAD_RESPONSE``, for what is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Union

from . import tables
from .calls import duration_fields
from .errors import BridgeError, Code, ErrorDetails, invalid_argument
from .host_tools import StreamReader, bad_response, check_texts, pack_request, parse_response, read_chunk, read_result
from .protobuf import encode
from .values import from_any, to_any

__all__ = [
    "DELETE_VARIABLE",
    "EXECUTE_STREAMING_TOOL",
    "EXECUTE_TOOL",
    "GET_VARIABLES",
    "LIST_VARIABLES",
    "REGISTER_VARIABLE",
    "SET_VARIABLE",
    "SET_VARIABLES",
    "Constraints",
    "StreamReader",
    "Variable",
    "WriteResult",
    "pack_delete",
    "pack_get",
    "pack_list",
    "pack_register",
    "pack_request",
    "pack_set",
    "pack_set_many",
    "read_chunk",
    "read_list",
    "read_registered",
    "read_result",
    "read_variables",
    "read_version",
    "read_write_results",
    "variable_not_found",
]

_SERVICE = "/bridge.v1.HostService/"
GET_VARIABLES = _SERVICE + "GetVariables"
SET_VARIABLE = _SERVICE + "SetVariable"
SET_VARIABLES = _SERVICE + "SetVariables"
REGISTER_VARIABLE = _SERVICE + "RegisterVariable"
LIST_VARIABLES = _SERVICE + "ListVariables"
DELETE_VARIABLE = _SERVICE + "DeleteVariable"
EXECUTE_TOOL = _SERVICE + "ExecuteHostTool"
EXECUTE_STREAMING_TOOL = _SERVICE + "ExecuteStreamingHostTool"

MAX_NAME_LENGTH = 256
"""Characters of a variable's name."""
MAX_TTL = 366 * 86400.0
"""Seconds a variable may live."""

_NAME = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{MAX_NAME_LENGTH}}}")
_PATTERN = re.compile(rf"[A-Za-z0-9_.:/*?-]{{0,{MAX_NAME_LENGTH}}}")


class Constraints(NamedTuple):
    """What a value must satisfy. Only the fields that fit the type may be set; see ``docs/variables.md``."""

    min: float | None = None
    max: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str = ""
    choices: tuple[str, ...] = ()
    dimensions: int | None = None
    shape: tuple[int, ...] | None = None


NO_CONSTRAINTS = Constraints()


class Variable(NamedTuple):
    """A variable at one version."""

    name: str
    type: str
    """integer, float, string, boolean, choice, json, embedding, tensor or bytes."""
    value: Any
    version: int
    """1 for the first value, one more with each committed change; a deletion is one too."""
    constraints: Constraints = NO_CONSTRAINTS
    metadata: Mapping[str, str] = {}
    changed_by: str = "client"
    """Who committed this version: ``client``, ``host`` or ``tool:<name>``."""
    updated_at: float = 0.0
    """When it was committed, seconds since the epoch."""
    expires_at: float | None = None
    """When it ends by itself, seconds since the epoch."""


WriteResult = Union[int, BridgeError]
"""The new version, or why the write was refused."""


# Requests


def pack_get(names: Iterable[str]) -> bytes:
    """Asks for variables: ``GET_VARIABLES``."""
    return encode(tables.GET_VARIABLES_REQUEST, {"names": [_checked_name(name) for name in names]})


def pack_set(
    name: str,
    value: Any,
    *,
    expected_version: int | None = None,
    metadata: Mapping[str, str] | None = None,
    ttl: float | None = None,
) -> bytes:
    """Writes a variable: ``SET_VARIABLE``.

    Args:
        name: the variable; an unknown one is registered with the type of the value.
        value: its new value.
        expected_version: write only if this is the current version; 0: only if there is none.
        metadata: free text to keep with it; without it, as before.
        ttl: seconds it lives from now; without it, as before.
    """
    fields = {
        "name": _checked_name(name),
        "value": _packed(value, name),
        "metadata": check_texts(metadata),
        "expected_version": _checked_version(expected_version),
        "ttl": _checked_ttl(ttl),
    }
    return encode(tables.SET_VARIABLE_REQUEST, fields)


def pack_set_many(
    values: Mapping[str, Any],
    *,
    atomic: bool = True,
    expected_versions: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    ttl: float | None = None,
) -> tuple[bytes, dict[str, BridgeError]]:
    """Writes variables: ``SET_VARIABLES``. Arguments as for ``pack_set``; ``atomic``: all or nothing.

    Returns the request, and what is refused before it is asked; atomic, that is raised.
    """
    expected = dict(expected_versions or {})
    if not expected.keys() <= values.keys():
        raise invalid_argument("expected_versions", "has a name that is not written")
    updates: dict[str, Any] = {}
    refused: dict[str, BridgeError] = {}
    for name, value in values.items():
        update = _update(name, value, expected.get(name))
        if not isinstance(update, BridgeError):
            updates[name] = update
        elif atomic:
            raise update
        else:
            refused[name] = update
            expected.pop(name, None)
    fields = {
        "updates": updates,
        "metadata": check_texts(metadata),
        "atomic": atomic,
        "expected_versions": expected,
        "ttl": _checked_ttl(ttl),
    }
    return encode(tables.SET_VARIABLES_REQUEST, fields), refused


def pack_register(
    name: str,
    type: str,
    value: Any,
    *,
    constraints: Constraints = NO_CONSTRAINTS,
    metadata: Mapping[str, str] | None = None,
    ttl: float | None = None,
) -> bytes:
    """Declares a variable: ``REGISTER_VARIABLE``. Whether type, constraints and value go together the host says."""
    if not isinstance(type, str) or not type.isascii():
        raise invalid_argument("type", "must be a name such as integer, string or json", reason="TYPE_REFUSED")
    fields = {
        "name": _checked_name(name),
        "type": type,
        "value": _packed(value, name),
        "metadata": check_texts(metadata),
        "constraints": _constraint_fields(constraints),
        "ttl": _checked_ttl(ttl),
    }
    try:
        return encode(tables.REGISTER_VARIABLE_REQUEST, fields)
    except (TypeError, ValueError):
        # All else is checked already.
        description = "a constraint is not of its type"
        raise invalid_argument("constraints", description, reason="CONSTRAINTS_REFUSED") from None


def pack_list(pattern: str = "") -> bytes:
    """Asks for the variables whose name matches a glob (``*``, ``?``), all without one: ``LIST_VARIABLES``."""
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        rule = f"a pattern is at most {MAX_NAME_LENGTH} characters of names, '*' and '?'"
        raise invalid_argument("pattern", rule, reason="PATTERN_REFUSED")
    return encode(tables.LIST_VARIABLES_REQUEST, {"pattern": pattern})


def pack_delete(name: str, *, expected_version: int | None = None) -> bytes:
    """Deletes a variable: ``DELETE_VARIABLE``, whose answer says nothing."""
    fields = {"name": _checked_name(name), "expected_version": _checked_version(expected_version)}
    return encode(tables.DELETE_VARIABLE_REQUEST, fields)


def _update(name: str, value: Any, expected_version: int | None) -> dict[str, Any] | BridgeError:
    try:
        _checked_version(expected_version)
        return _packed(value, _checked_name(name))
    except BridgeError as error:
        return error


def _packed(value: Any, path: str) -> dict[str, Any]:
    url, data = to_any(value, path)
    return {"type_url": url, "value": data}


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = f"a variable's name is 1 to {MAX_NAME_LENGTH} of A-Z, a-z, 0-9 and '_', '.', ':', '/', '-'"
        shown = ascii(name[:40]) + "..." * (len(name) > 40) if isinstance(name, str) else type(name).__name__
        raise invalid_argument("name", f"{rule}, and {shown} is not", reason="NAME_REFUSED")
    return name


def _checked_version(version: int | None) -> int | None:
    if version is None:
        return None
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63:
        raise invalid_argument("expected_version", "must be an integer, 0 or more, of 64 bits")
    return version


def _checked_ttl(ttl: float | None) -> dict[str, int] | None:
    if ttl is None:
        return None
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl <= MAX_TTL:
        raise invalid_argument("ttl", f"must be more than 0 and at most {MAX_TTL:.0f} seconds")
    return duration_fields(ttl)


def _constraint_fields(constraints: Constraints) -> dict[str, Any]:
    fields = constraints._asdict()
    for name in ("min", "max"):
        if fields[name] is not None:
            fields[name] = _packed(fields[name], f"constraints.{name}")
    return fields


# Answers


def read_variables(data: bytes) -> dict[str, Variable]:
    """The variables there are, by name; those that do not exist are absent."""
    response = parse_response(tables.GET_VARIABLES_RESPONSE, data)
    return {name: _variable(fields) for name, fields in response["variables"].items()}


def read_version(data: bytes) -> int:
    """The version that a write has made."""
    version: int = parse_response(tables.SET_VARIABLE_RESPONSE, data)["version"]
    return version


def read_write_results(data: bytes) -> dict[str, WriteResult]:
    """What became of each of several writes, by name."""
    response = parse_response(tables.SET_VARIABLES_RESPONSE, data)
    results: dict[str, WriteResult] = dict(response["versions"])
    for name, fields in response["failures"].items():
        results[name] = _failure(name, fields)
    return results


def read_registered(data: bytes) -> Variable:
    """The variable that was declared."""
    fields = parse_response(tables.REGISTER_VARIABLE_RESPONSE, data)["variable"]
    if fields is None:
        raise bad_response("it has no variable")
    return _variable(fields)


def read_list(data: bytes) -> list[Variable]:
    """Variables, sorted by name."""
    return [_variable(fields) for fields in parse_response(tables.LIST_VARIABLES_RESPONSE, data)["variables"]]


def variable_not_found(name: str) -> BridgeError:
    """There is no variable of this (valid) name."""
    message = f"the session has no variable {name!r}: list its variables, or set this one first"
    return BridgeError(Code.NOT_FOUND, message, reason="VARIABLE_NOT_FOUND")


def _variable(fields: Mapping[str, Any]) -> Variable:
    name = fields["name"]
    return Variable(
        name,
        fields["type"],
        _unpacked(fields["value"], name),
        fields["version"],
        _constraints(fields["constraints"]),
        fields["metadata"],
        fields["changed_by"],
        _seconds(fields["last_updated_at"]) or 0.0,
        _seconds(fields["expires_at"]),
    )


def _unpacked(packed: Mapping[str, Any] | None, path: str) -> Any:
    return None if packed is None else from_any(packed["type_url"], packed["value"], path)


def _constraints(fields: Mapping[str, Any] | None) -> Constraints:
    if fields is None:
        return NO_CONSTRAINTS
    return Constraints(
        _unpacked(fields["min"], "constraints.min"),
        _unpacked(fields["max"], "constraints.max"),
        fields["min_length"],
        fields["max_length"],
        fields["pattern"],
        tuple(fields["choices"]),
        fields["dimensions"],
        tuple(fields["shape"]) or None,
    )


def _seconds(fields: Mapping[str, int] | None) -> float | None:
    return None if fields is None else fields["seconds"] + fields["nanos"] / 1_000_000_000


def _failure(name: str, fields: Mapping[str, Any]) -> BridgeError:
    try:
        code = Code(fields["code"])
    except ValueError:
        code = Code.UNKNOWN
    details = ErrorDetails()
    if fields["reason"] == "VERSION_MISMATCH":
        details = ErrorDetails(metadata={"name": name, "current_version": str(fields["current_version"])})
    return BridgeError(code, fields["message"], reason=fields["reason"], details=details)

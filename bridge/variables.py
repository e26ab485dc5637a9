"""Sessions and their variables as values. No storage, no wire; what the types mean is in ``bridge.variable_types``."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = [
    "MAX_NAME_LENGTH",
    "NO_CONSTRAINTS",
    "Constraints",
    "Declaration",
    "SessionInfo",
    "Update",
    "UpdateKind",
    "Variable",
    "Write",
    "WriteResult",
    "check_name",
    "check_version",
    "variable_not_found",
]

MAX_NAME_LENGTH = 256
"""Characters of a variable's name."""


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """What a value must satisfy. Only the fields that fit the type may be set."""

    min: float | int | None = None
    """Smallest value, inclusive (integer, float)."""
    max: float | int | None = None
    """Largest value, inclusive (integer, float)."""
    min_length: int | None = None
    """Fewest characters (string) or bytes (bytes)."""
    max_length: int | None = None
    """Most characters (string) or bytes (bytes)."""
    pattern: str = ""
    """Regular expression in RE2's syntax that the whole string matches (string)."""
    choices: tuple[str, ...] = ()
    """The values allowed (choice, string)."""
    dimensions: int | None = None
    """Length of the vector (embedding)."""
    shape: tuple[int, ...] | None = None
    """Length of each dimension, -1 for any (tensor)."""


NO_CONSTRAINTS = Constraints()


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable at one version."""

    name: str
    type: str
    """integer, float, string, boolean, choice, json, embedding, tensor or bytes."""
    value: Any
    version: int
    """1 for the first value, one more with each committed change; a deletion is one too."""
    constraints: Constraints = msgspec.field(default_factory=Constraints)
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    changed_by: str = "client"
    """Who committed this version: ``client``, ``host`` or ``tool:<name>``."""
    updated_at: float = 0.0
    """When it was committed, seconds since the epoch."""
    expires_at: float | None = None
    """When it ends by itself, seconds since the epoch."""


class UpdateKind(enum.IntEnum):
    """What happened to a variable; numbers as in ``bridge.v1.VariableUpdate.Kind``."""

    INITIAL = 1
    """Nothing: this is the value when a watch began."""
    CHANGED = 2
    """A new value."""
    REGISTERED = 3
    """A new type or constraint."""
    DELETED = 4
    """It is gone."""
    EXPIRED = 5
    """Its time was over, it is gone."""
    STARTED = 6
    """First of every watch, without a variable: whatever is committed from now on comes."""


class Update(msgspec.Struct, frozen=True):
    """One committed change of a variable."""

    kind: UpdateKind
    variable: Variable | None
    """The variable after the change; its value is ``None`` if it is gone. ``None`` only with ``STARTED``."""
    positions: Mapping[str, int] = msgspec.field(default_factory=dict)
    """With ``STARTED``, by name: the version after which changes follow. A name whose initial value follows is not
    there: that has its version."""


class Write(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One write of one variable."""

    name: str
    value: Any
    expected_version: int | None = None
    """Write only if this is the current version; 0: only if there is none."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Free text to keep with the variable; empty: as before."""
    ttl: float | None = None
    """Seconds it lives from now; ``None``: as before."""


WriteResult = int | BridgeError
"""The new version, or why the write was refused."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A variable as it is registered: type, constraints and value."""

    name: str
    type: str
    value: Any
    constraints: Constraints = msgspec.field(default_factory=Constraints)
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    ttl: float | None = None
    """Seconds it lives from now; ``None``: as long as the session."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it stands."""

    session_id: str
    """128 random bits, as 32 lower-case hexadecimal digits, made by the host."""
    metadata: Mapping[str, str]
    """Free text given when it was opened."""
    created_at: float
    """When it was opened, seconds since the epoch."""
    ttl: float
    """Seconds it lives without use or heartbeat."""
    expires_at: float
    """When it ends if nothing happens, seconds since the epoch."""
    variable_count: int
    """Variables it holds."""


_NAME = re.compile(rf"[A-Za-z0-9_.:/-]{{1,{MAX_NAME_LENGTH}}}")


def check_name(name: str) -> None:
    """Refuses what is not a variable's name: INVALID_ARGUMENT, reason ``NAME_REFUSED``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = f"a variable's name is 1 to {MAX_NAME_LENGTH} of A-Z, a-z, 0-9 and '_', '.', ':', '/', '-'"
        shown = ascii(name[:40]) + "..." * (len(name) > 40) if isinstance(name, str) else type(name).__name__
        raise invalid_argument("name", f"{rule}, and {shown} is not", reason="NAME_REFUSED")


def check_version(version: int, field: str = "expected_version") -> None:
    """Refuses what no version can be: INVALID_ARGUMENT that names the field."""
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63:
        raise invalid_argument(field, "must be an integer, 0 or more, of 64 bits")


def variable_not_found(name: str) -> BridgeError:
    """There is no variable of this (valid) name."""
    message = f"the session has no variable {name!r}: list its variables, or set this one first"
    return BridgeError(Code.NOT_FOUND, message, reason="VARIABLE_NOT_FOUND")

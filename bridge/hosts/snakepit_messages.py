"""Variables to and from the messages of Snakepit v0.4.2, for both ends of its wire.

What these messages have no field for travels in their free text: which type a text stands for in ``TYPE_KEY`` of a
variable's metadata, where nobody but us sees it, and what happened in ``CHANGE_KEY`` of an update or an entry of the
history.
"""

from __future__ import annotations

from bridge.errors import BridgeError, invalid_argument
from bridge.hosts.messages import fill_time, read_time
from bridge.hosts.snakepit_types import (
    fill_value,
    our_type,
    read_constraints,
    read_value,
    their_type,
    type_in_url,
    write_constraints,
)
from bridge.snakepit import messages
from bridge.variables import NO_CONSTRAINTS, Constraints, Declaration, Update, UpdateKind, Variable, check_name

__all__ = [
    "CHANGE_KEY",
    "IF_ABSENT",
    "MAX_VERSION",
    "check_fits",
    "fill_declaration",
    "fill_history",
    "fill_update",
    "fill_variable",
    "id_of",
    "name_in",
    "read_declaration",
    "read_history",
    "read_update",
    "read_variable",
]

TYPE_KEY = "snakepit.type"
CHANGE_KEY = "bridge.change"
IF_ABSENT = "bridge-if-absent"
"""Header of a SetVariable that is to make a variable, and to be refused if there is one. Only we say and obey it:
``expected_version`` 0 cannot be told from none, and stock hosts make variables by RegisterVariable alone."""
MAX_VERSION = 2**31 - 1
"""The wire's versions are ``int32``. They begin with 1, as ours do; those of stock hosts with 0."""

_ID = "var_"
_TEXTS = ("module", "choice")
"""Types of the wire that are texts here."""
_GONE = (UpdateKind.DELETED, UpdateKind.EXPIRED)
_UPDATE_TYPES = {
    UpdateKind.STARTED: "heartbeat",
    UpdateKind.INITIAL: "initial",
    UpdateKind.CHANGED: "value_changed",
    UpdateKind.REGISTERED: "value_changed",
    UpdateKind.DELETED: "deleted",
    UpdateKind.EXPIRED: "deleted",
}
_KINDS = {
    "heartbeat": UpdateKind.STARTED,
    "initial": UpdateKind.INITIAL,
    "deleted": UpdateKind.DELETED,
}


def id_of(name: str) -> str:
    """The id of a variable. It says no more than the name, which is what we know variables by."""
    return _ID + name


def name_in(identifier: str) -> str:
    """The name in an id; empty if it is none."""
    return identifier[len(_ID) :] if identifier.startswith(_ID) else ""


def check_fits(name: str, version: int) -> int:
    """The version, if the wire can carry it; else OUT_OF_RANGE, reason ``NOT_ON_THIS_WIRE``."""
    if version > MAX_VERSION:
        description = f"is at version {version}, and this wire carries 32 bits: use bridge.v1, or another name"
        raise invalid_argument(name, description, reason="NOT_ON_THIS_WIRE")
    return version


def fill_variable(message: messages.Variable, variable: Variable, *, is_gone: bool = False) -> None:
    """Describes a variable. Raises ``BridgeError`` INVALID_ARGUMENT, reason ``NOT_ON_THIS_WIRE``, if it cannot."""
    theirs = _type_of(variable)
    message.id, message.name, message.type = id_of(variable.name), variable.name, theirs
    message.version = check_fits(variable.name, variable.version)
    message.constraints_json = write_constraints(theirs, variable.constraints)
    for key, value in variable.metadata.items():
        if key != TYPE_KEY:
            message.metadata[key] = value
    is_python = variable.changed_by.startswith("tool:") or variable.metadata.get("source") == "python"
    message.source = messages.Variable.PYTHON if is_python else messages.Variable.ELIXIR
    fill_time(message.last_updated_at, variable.updated_at)
    message.optimization_status.optimizing = False
    if not is_gone:
        fill_value(message.value, variable.name, theirs, variable.value)


def read_variable(message: messages.Variable, *, changed_by: str = "client") -> Variable:
    """The variable a message describes; one that is gone has the value ``None``."""
    constraints = _their_constraints(message)
    ours = our_type(message.type, constraints)
    has_value = message.HasField("value") or bool(message.binary_value)
    return Variable(
        name=message.name,
        type=ours,
        value=read_value(message.name, ours, message.value, message.binary_value) if has_value else None,
        version=message.version,
        constraints=constraints,
        metadata=dict(message.metadata),
        changed_by=changed_by,
        updated_at=read_time(message.last_updated_at),
    )


def fill_declaration(request: messages.RegisterVariableRequest, declaration: Declaration) -> None:
    """Describes a variable that is to be registered."""
    theirs = their_type(declaration.type, declaration.value)
    request.name = declaration.name
    # Stock hosts know no type for maps and lists; what else is JSON has none that would let it become something else.
    request.type = theirs if theirs in ("map", "list") else declaration.type
    fill_value(request.initial_value, declaration.name, theirs, declaration.value)
    request.constraints_json = write_constraints(theirs, declaration.constraints)
    request.metadata.update(declaration.metadata)


def read_declaration(request: messages.RegisterVariableRequest) -> Declaration:
    """The variable to register. Raises ``BridgeError`` INVALID_ARGUMENT."""
    name, theirs = request.name, request.type
    check_name(name)
    constraints = read_constraints(theirs, request.constraints_json)
    ours = our_type(theirs, constraints)
    value = read_value(name, ours, request.initial_value, request.initial_binary_value)
    wanted = {"map": dict, "list": list}.get(theirs)
    if wanted is not None and not isinstance(value, wanted):
        raise invalid_argument(name, f"expected a JSON {theirs}", reason="VALUE_REFUSED")
    metadata = dict(request.metadata)
    metadata.pop(TYPE_KEY, None)
    if ours == "string" and theirs in _TEXTS:
        metadata[TYPE_KEY] = theirs
    return Declaration(name=name, type=ours, value=value, constraints=constraints, metadata=metadata)


def fill_update(message: messages.VariableUpdate, update: Update) -> None:
    """Describes what happened. The beginning of a watch is a heartbeat, which stock readers skip, with the positions in
    its metadata."""
    message.update_type = _UPDATE_TYPES[update.kind]
    variable = update.variable
    if variable is None:
        message.update_metadata.update({name: str(version) for name, version in update.positions.items()})
        return
    message.variable_id = id_of(variable.name)
    message.update_source = variable.changed_by
    message.update_metadata[CHANGE_KEY] = update.kind.name.lower()
    fill_time(message.timestamp, variable.updated_at)
    fill_variable(message.variable, variable, is_gone=update.kind in _GONE)


def read_update(message: messages.VariableUpdate) -> Update:
    """What a message says that happened."""
    kind = _KINDS.get(message.update_type, UpdateKind.CHANGED)
    if kind is UpdateKind.STARTED:
        texts = message.update_metadata.items()
        return Update(kind, None, {name: int(text) for name, text in texts if text.isdecimal() and len(text) < 20})
    variable = read_variable(message.variable, changed_by=message.update_source or "client")
    return Update(_exactly(kind, message.update_metadata.get(CHANGE_KEY, "")), variable)


def fill_history(entry: messages.VariableHistoryEntry, update: Update) -> None:
    """Describes a change that is kept."""
    variable = update.variable
    if variable is None:
        return
    theirs = _type_of(variable)
    entry.version = check_fits(variable.name, variable.version)
    entry.changed_by = variable.changed_by
    fill_time(entry.timestamp, variable.updated_at)
    entry.metadata.update({key: value for key, value in variable.metadata.items() if key != TYPE_KEY})
    entry.metadata[CHANGE_KEY] = update.kind.name.lower()
    if update.kind not in _GONE:
        fill_value(entry.value, variable.name, theirs, variable.value)


def read_history(name: str, entry: messages.VariableHistoryEntry) -> Update:
    """The change an entry describes."""
    metadata = dict(entry.metadata)
    kind = _exactly(UpdateKind.CHANGED, metadata.pop(CHANGE_KEY, ""))
    ours = our_type(type_in_url(entry.value.type_url) or "json", NO_CONSTRAINTS)
    variable = Variable(
        name=name,
        type=ours,
        value=read_value(name, ours, entry.value, b"") if entry.HasField("value") else None,
        version=entry.version,
        metadata=metadata,
        changed_by=entry.changed_by,
        updated_at=read_time(entry.timestamp),
    )
    return Update(kind, variable)


def _exactly(kind: UpdateKind, change: str) -> UpdateKind:
    """What happened, in our words if they came along."""
    return UpdateKind.__members__.get(change.upper(), kind)


def _type_of(variable: Variable) -> str:
    was = variable.metadata.get(TYPE_KEY, "")
    return was if was in _TEXTS and variable.type == "string" else their_type(variable.type, variable.value)


def _their_constraints(message: messages.Variable) -> Constraints:
    try:
        return read_constraints(message.type, message.constraints_json)
    except BridgeError:
        return NO_CONSTRAINTS  # of a host that lets its programs invent some

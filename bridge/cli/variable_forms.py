"""Sessions, variables and their changes as documents for programs and as lines and tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.cli.output import one_line
from bridge.cli.problems import printable, usage_error

if TYPE_CHECKING:
    from rich.table import Table

    from bridge.variables import Constraints, SessionInfo, Update, Variable

__all__ = [
    "constraints_text",
    "moment",
    "pairs",
    "parse_metadata",
    "session_row",
    "table",
    "update_document",
    "update_line",
    "update_row",
    "variable_document",
    "variable_row",
]

CELL_WIDTH = 60
"""Characters of a value in a table."""
LINE_WIDTH = 120
"""Characters of a value on a line of its own."""


def parse_metadata(written: Iterable[str] | None) -> dict[str, str]:
    """What ``--metadata KEY=VALUE`` gives. Raises wrong usage."""
    metadata: dict[str, str] = {}
    for text in written or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise usage_error(f"--metadata: {text[:100]!r} is not KEY=VALUE")
        metadata[key] = value
    return metadata


def moment(seconds: float) -> str:
    """A point in time (seconds since the epoch) on the clock of the user's wall."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _constraints(constraints: Constraints) -> dict[str, Any]:
    """Those that are set."""
    return {name: value for name, value in msgspec.structs.asdict(constraints).items() if value not in (None, (), "")}


def constraints_text(constraints: Constraints) -> str:
    """Constraints in one line."""
    parts = []
    for name, value in _constraints(constraints).items():
        between = "|" if name == "choices" else ","
        text = between.join(map(str, value)) if isinstance(value, tuple) else str(value)
        parts.append(f"{name} {text}")
    return printable(", ".join(parts)).replace("\n", "\\n")


def variable_document(variable: Variable) -> dict[str, Any]:
    """A variable with the fields of ``bridge.variables.Variable``; times are seconds since the epoch."""
    document = msgspec.structs.asdict(variable)
    document["constraints"] = _constraints(variable.constraints)
    document["metadata"] = dict(variable.metadata)
    return document


def update_document(update: Update) -> dict[str, Any]:
    """A change: its kind and the variable after it."""
    fields = {} if update.variable is None else variable_document(update.variable)
    return {"kind": update.kind.name.lower(), **fields}


def update_line(update: Update) -> str:
    """A change on one line; empty for the beginning of a watch."""
    if (variable := update.variable) is None:
        return ""
    when, what = moment(variable.updated_at).partition(" ")[2], _what(update, variable, LINE_WIDTH)
    return f"{when}  {variable.name}  version {variable.version}  {what}  by {printable(variable.changed_by)}"


def update_row(update: Update) -> list[str]:
    """Version, time, what happened, who did it; empty for the beginning of a watch."""
    if (variable := update.variable) is None:
        return []
    what = _what(update, variable, CELL_WIDTH)
    return [str(variable.version), moment(variable.updated_at), what, variable.changed_by]


def _what(update: Update, variable: Variable, width: int) -> str:
    """The value, unless it is gone, and in words what is more than a value."""
    kind = update.kind.name.lower()
    if kind in ("deleted", "expired"):
        return kind
    value = one_line(variable.value, width)
    if kind == "registered":
        declared = ", ".join(filter(None, [variable.type, constraints_text(variable.constraints)]))
        return f"{value}  (registered: {declared})"
    return f"{value}  (initial)" if kind == "initial" else value


def variable_row(variable: Variable) -> list[str]:
    """Name, type, version, value, constraints, who changed it, when it ends."""
    ends = "with the session" if variable.expires_at is None else moment(variable.expires_at)
    value, constraints = one_line(variable.value, CELL_WIDTH), constraints_text(variable.constraints)
    return [variable.name, variable.type, str(variable.version), value, constraints, variable.changed_by, ends]


def session_row(session: SessionInfo) -> list[str]:
    """Id, when it was opened and ends, variables, metadata."""
    opened, ends = moment(session.created_at), moment(session.expires_at)
    return [session.session_id, opened, ends, str(session.variable_count), pairs(session.metadata)]


def pairs(metadata: Mapping[str, str]) -> str:
    """Metadata in one line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(metadata.items()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts that came from somewhere else. The first column is what users copy, so it is never broken."""
    from rich.table import Column, Table
    from rich.text import Text

    made = Table(Column(heads[0], no_wrap=True, overflow="ignore"), *heads[1:])
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made

"""From arguments that do not fit to a list of what is wrong with each, without repeating the values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.runtime.hints import closest
from bridge.schema import convert_hook

__all__ = ["refuse"]

_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")


def refuse(
    tool: str, arguments: dict[str, Any], arguments_type: type[msgspec.Struct], *, what: str = "tool"
) -> NoReturn:
    """Raises INVALID_ARGUMENT with every violation: all unknown, missing and wrong arguments, not only the first.

    The slow path: each argument is converted by itself once more to find its own error.

    Args:
        tool: its name.
        arguments: what it was called with.
        arguments_type: what it takes.
        what: what it is, if no tool.
    """
    hints = {field.encode_name: field for field in msgspec.structs.fields(arguments_type)}
    violations = [FieldViolation(f"$.{name}", _unknown(name, hints)) for name in arguments if name not in hints]
    for name, field in hints.items():
        if name not in arguments:
            if field.required:
                violations.append(FieldViolation(f"$.{name}", "is required"))
            continue
        try:
            msgspec.convert(arguments[name], field.type, dec_hook=convert_hook)
        except msgspec.ValidationError as error:
            violations.append(_violation(name, str(error)))
        except RecursionError:
            violations.append(FieldViolation(f"$.{name}", "is nested too deeply"))
    summary = "; ".join(f"{v.field} {v.description}" for v in violations[:5])
    more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
    raise BridgeError(
        Code.INVALID_ARGUMENT,
        f"{what} {tool!r}: {summary}{more}",
        reason="INVALID_ARGUMENT",
        details=ErrorDetails(violations=tuple(violations)),
    )


def _unknown(name: str, hints: Iterable[str]) -> str:
    close = closest(name, hints)
    if close is not None:
        return f"is not a parameter; did you mean {close}?"
    return f"is not a parameter; there is {', '.join(hints)}" if hints else "is not a parameter; there are none"


def _violation(name: str, text: str) -> FieldViolation:
    at = _AT.search(text)
    path = at["path"] if at else ""
    description = _AT.sub("", text).replace("`", "")
    if description.startswith("Invalid enum value"):
        description = "Expected one of the values in the schema"  # msgspec's own text repeats the value
    return FieldViolation(f"$.{name}{path}", description[:1].lower() + description[1:])

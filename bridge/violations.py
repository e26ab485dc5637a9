"""From arguments that do not fit to a list of what is wrong with each, without repeating the values."""

from __future__ import annotations

import re
import typing
from typing import Any, NoReturn

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.hints import closest
from bridge.schema import convert_hook

__all__ = ["refuse"]

_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")


def refuse(tool: str, arguments: dict[str, Any], arguments_type: Any) -> NoReturn:
    """Raises INVALID_ARGUMENT with every violation: all unknown, missing and wrong arguments, not only the first.

    The slow path: each argument is converted by itself once more to find its own error.
    """
    hints = typing.get_type_hints(arguments_type, include_extras=True)
    required = arguments_type.__required_keys__
    violations = [FieldViolation(f"$.{name}", _unknown(name, hints)) for name in arguments if name not in hints]
    for name, hint in hints.items():
        if name not in arguments:
            if name in required:
                violations.append(FieldViolation(f"$.{name}", "is required"))
            continue
        try:
            msgspec.convert(arguments[name], _plain(hint), dec_hook=convert_hook)
        except msgspec.ValidationError as error:
            violations.append(_violation(name, str(error)))
        except RecursionError:
            violations.append(FieldViolation(f"$.{name}", "is nested too deeply"))
    summary = "; ".join(f"{v.field} {v.description}" for v in violations[:5])
    more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
    raise BridgeError(
        Code.INVALID_ARGUMENT,
        f"tool {tool!r}: {summary}{more}",
        reason="INVALID_ARGUMENT",
        details=ErrorDetails(violations=tuple(violations)),
    )


def _plain(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.NotRequired else hint


def _unknown(name: str, hints: dict[str, Any]) -> str:
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

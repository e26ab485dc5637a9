"""The types of session variables: what each holds, which constraints fit it, and the checks of both."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.errors import BridgeError, invalid_argument
from bridge.patterns import mismatch, pattern_problem
from bridge.variables import NO_CONSTRAINTS, Constraints

__all__ = ["MAX_CHOICES", "TYPES", "check_constraints", "check_value", "infer_type", "kind_of"]

MAX_CHOICES = 1024
"""Entries of ``Constraints.choices``."""
MAX_RANK = 64
"""Entries of ``Constraints.shape``; numpy's own limit."""
MAX_BOUND_BITS = 1024
"""Size of an integer ``Constraints.min`` or ``max``: what a float can be compared with, and a message can show."""


def kind_of(value: Any) -> str:
    """What a value is, for messages: never the value itself."""
    return "None" if value is None else type(value).__name__


def _numpy() -> Any:
    """numpy if somebody has imported it: without that no value can be of its types, and importing it is slow."""
    return sys.modules.get("numpy")


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python number it holds."""
    numpy = _numpy()
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def infer_type(value: Any) -> str:
    """The type an unknown name is registered with when this value is set.

    What is neither a number, text, bytes nor an array is ``json``; whether JSON can carry it is found out when it is
    stored.
    """
    value = _plain(value)
    for kind, type_ in _INFERRED:
        if isinstance(value, kind):
            return type_
    numpy = _numpy()
    return "tensor" if numpy is not None and isinstance(value, numpy.ndarray) else "json"


_INFERRED: tuple[tuple[Any, str], ...] = (
    (bool, "boolean"),  # before int, of which it is a subclass
    (int, "integer"),
    (float, "float"),
    (str, "string"),
    ((bytes, bytearray, memoryview), "bytes"),
)


_BUILT_IN = frozenset({bool, int, float, str, bytes, list, dict})
"""Classes of values that are no numpy scalars, without looking."""


class _Refused(Exception):
    """A value is not of the type; the text says what was expected and the kind that came."""


def _expected(what: str, value: Any) -> _Refused:
    return _Refused(f"expected {what}, got {kind_of(value)}")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    raise _expected("an integer", value)


def _float(value: Any) -> float:
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _expected("a float", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if number != value:
        raise _Refused("expected a float, got an integer too large to be one exactly")
    return number


def _string(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # an Enum that is a str, as its value
    raise _expected("a string", value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _expected("a boolean", value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise _expected("bytes", value)


def _json(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview) or infer_type(value) == "tensor":
        raise _expected("a JSON value", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused("expected a JSON value, got a number that is not finite")
    return value


def _array(value: Any) -> bool:
    numpy = _numpy()
    return numpy is not None and isinstance(value, numpy.ndarray)


def _tensor(value: Any) -> Any:
    if not _array(value):
        raise _expected("a numpy array", value)
    if value.dtype.kind not in "biufc":
        raise _Refused(f"expected an array of numbers or booleans, got one of {value.dtype}")
    return value


def _embedding(value: Any) -> Any:
    if _array(value):
        if value.dtype.kind not in "iuf" or value.ndim != 1:
            raise _Refused(f"expected a vector of numbers, got an array of {value.dtype} with {value.ndim} dimensions")
        if not _numpy().isfinite(value).all():
            raise _Refused(f"expected a vector of finite numbers, and in this {kind_of(value)} are others")
        return value
    if not isinstance(value, list | tuple):
        raise _expected("a list of numbers or a one-dimensional array", value)
    is_exact = set(map(type, value)) <= {float}
    vector = list(value) if is_exact else [_float(_plain(number)) for number in value]
    if not all(map(math.isfinite, vector)):
        raise _Refused(f"expected a vector of finite numbers, and in this {kind_of(value)} are others")
    return vector


class _Type(msgspec.Struct, frozen=True):
    read: Callable[[Any], Any]
    """The value as this type holds it; raises ``_Refused``."""
    constraints: frozenset[str] = frozenset()
    """The constraints that fit."""


_NUMBER = frozenset({"min", "max"})
_LENGTH = frozenset({"min_length", "max_length"})
_TYPES: dict[str, _Type] = {
    "integer": _Type(_integer, _NUMBER),
    "float": _Type(_float, _NUMBER),
    "string": _Type(_string, _LENGTH | {"choices", "pattern"}),
    "boolean": _Type(_boolean),
    "choice": _Type(_string, frozenset({"choices"})),
    "json": _Type(_json),
    "embedding": _Type(_embedding, frozenset({"dimensions"})),
    "tensor": _Type(_tensor, frozenset({"shape"})),
    "bytes": _Type(_bytes, _LENGTH),
}
TYPES = tuple(_TYPES)
"""Names of all types."""


def check_value(name: str, type: str, value: Any, constraints: Constraints = NO_CONSTRAINTS) -> Any:
    """The value as a variable of this type holds it: an integer given to a float becomes a float, and so on.

    Raises:
        BridgeError: INVALID_ARGUMENT with the variable's name, reason ``VALUE_REFUSED`` (another type) or
            ``CONSTRAINT_VIOLATED``. The message tells kinds and constraints, never the value. What
            ``bridge.patterns.mismatch`` raises about a pattern that cannot be obeyed.
    """
    try:
        value = _TYPES[type].read(value if value.__class__ in _BUILT_IN else _plain(value))
    except _Refused as refusal:
        raise invalid_argument(name, str(refusal), reason="VALUE_REFUSED") from None
    if constraints is not NO_CONSTRAINTS:
        violated = _violated(value, constraints)
        if violated:
            description = f"violates {violated} of a variable of type {type}, got {kind_of(value)}"
            raise invalid_argument(name, description, reason="CONSTRAINT_VIOLATED")
    return value


def _violated(value: Any, limit: Constraints) -> str | None:
    """The first constraint that does not hold. Comparisons are written so that NaN fails them."""
    if limit.min is not None and not value >= limit.min:
        return f"min {limit.min}"
    if limit.max is not None and not value <= limit.max:
        return f"max {limit.max}"
    if limit.min_length is not None and len(value) < limit.min_length:
        return f"min_length {limit.min_length}"
    if limit.max_length is not None and len(value) > limit.max_length:
        return f"max_length {limit.max_length}"
    if limit.choices and value not in limit.choices:
        return f"choices (one of {len(limit.choices)})"
    if limit.pattern and (problem := mismatch(limit.pattern, value)):
        return problem
    if limit.dimensions is not None and len(value) != limit.dimensions:
        return f"dimensions {limit.dimensions}"
    if limit.shape is not None and not _has_shape(value, limit.shape):
        return f"shape {limit.shape}"
    return None


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    return len(value.shape) == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, value.shape, strict=True)
    )


def check_constraints(type: str, constraints: Constraints) -> None:
    """Refuses an unknown type (reason ``TYPE_REFUSED``), and constraints that do not fit it or contradict themselves
    (reason ``CONSTRAINTS_REFUSED``): INVALID_ARGUMENT. Whether a pattern can be compiled is for ``check_value`` to find
    out, where it is obeyed: a client that only passes it on may be without RE2."""
    if not isinstance(type, str) or type not in _TYPES:
        raise invalid_argument("type", f"must be one of {', '.join(TYPES)}", reason="TYPE_REFUSED")
    for name in constraints.__struct_fields__:
        value = getattr(constraints, name)
        unset = getattr(NO_CONSTRAINTS, name)
        if value is unset or (isinstance(value, str | tuple) and value == unset):
            continue
        if name not in _TYPES[type].constraints:
            raise _wrong(name, f"does not fit a variable of type {type}")
        wrong = _CHECKS[name](value)
        if wrong:
            raise _wrong(name, wrong)
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(constraints, low), getattr(constraints, high)
        if least is not None and most is not None and least > most:
            raise _wrong(low, f"is larger than {high}")
    if type == "choice" and not constraints.choices:
        raise _wrong("choices", "a variable of type choice needs the values allowed")


def _wrong(constraint: str, description: str) -> BridgeError:
    return invalid_argument(f"constraints.{constraint}", description, reason="CONSTRAINTS_REFUSED")


def _is_length(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 can carry: one without lone surrogates."""
    return isinstance(value, str) and (value.isascii() or value == value.encode(errors="ignore").decode())


def _check_bound(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "" if value.bit_length() <= MAX_BOUND_BITS else f"must have at most {MAX_BOUND_BITS} bits"
    return "" if isinstance(value, float) and not math.isnan(value) else f"must be a number, got {kind_of(value)}"


def _check_count(value: Any) -> str:
    return "" if _is_length(value) else "must be an integer, 0 or more"


def _check_choices(value: Any) -> str:
    fine = isinstance(value, tuple) and len(value) <= MAX_CHOICES and all(map(_is_text, value))
    return "" if fine else f"must be a tuple of at most {MAX_CHOICES} strings"


def _check_shape(value: Any) -> str:
    # An empty shape cannot be told from none on the wire.
    fine = isinstance(value, tuple) and 0 < len(value) <= MAX_RANK and all(_is_length(one, -1) for one in value)
    return "" if fine else f"must be a tuple of 1 to {MAX_RANK} lengths, -1 for any"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "min": _check_bound,
    "max": _check_bound,
    "min_length": _check_count,
    "max_length": _check_count,
    "pattern": pattern_problem,
    "choices": _check_choices,
    "dimensions": _check_count,
    "shape": _check_shape,
}

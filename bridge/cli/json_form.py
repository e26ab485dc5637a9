"""Values as JSON documents in the output and the arguments of commands."""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal
from typing import Any

import msgspec

from bridge.json_form import from_json, to_json

__all__ = ["dumps", "loads"]


def dumps(value: Any) -> str:
    """One line of JSON for a value that a call returned."""
    return json.dumps(to_json(value), ensure_ascii=sys.stdout.encoding.lower() != "utf-8", allow_nan=False)


def loads(text: str | bytes) -> Any:
    """The value of a JSON document. Numbers keep every digit: what a float cannot hold is a ``Decimal``.

    Raises ``ValueError`` if it is none.
    """
    try:
        return from_json(_DECODER.decode(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(text: str) -> float | Decimal:
    value, exact = float(text), Decimal(text)
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


_DECODER = msgspec.json.Decoder(float_hook=_number)

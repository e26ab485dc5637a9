"""From annotations to conversions, violations and JSON Schemas."""

from __future__ import annotations

from .annotations import read_annotations
from .base import MismatchError, Type
from .json_values import ABSENT, as_json
from .types import Types, alternatives

__all__ = ["ABSENT", "MismatchError", "Type", "Types", "alternatives", "as_json", "read_annotations"]

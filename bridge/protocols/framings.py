"""The framings by the names that users give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bridge.protocols.content_length import ContentLength
from bridge.protocols.framing import Framing
from bridge.protocols.newline import Newline

__all__ = ["FRAMINGS", "FramingName"]

FramingName = Literal["content-length", "newline"]

FRAMINGS: Mapping[str, type[Framing]] = {"content-length": ContentLength, "newline": Newline}
"""Classes by ``FramingName``."""

"""``tools.list``: what clients see of tools."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from bridge.registry import Registry
from bridge.tool import Tool

__all__ = ["Catalog"]


class _Spec(msgspec.Struct, omit_defaults=True):
    name: str
    description: str
    input_schema: Raw
    output_schema: Raw | None = None
    parameters: list[str] = msgspec.field(default_factory=list)
    """Their names in the order of their positions."""
    streaming: bool = False
    idempotent: bool = False
    read_only: bool = False
    isolation: str = ""
    timeout: float | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class _Listing(msgspec.Struct):
    tools: list[_Spec]


class Catalog:
    """The tools of a registry as JSON; made again when they have changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._text = b""

    def text(self) -> bytes:
        """The result of ``tools.list``."""
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._text = msgspec.json.encode(_Listing([_spec(tool) for tool in self._registry.tools]))
        return self._text


def _spec(tool: Tool) -> _Spec:
    options = tool.options
    return _Spec(
        name=tool.name,
        description=tool.description,
        input_schema=_schema(tool.input_schema),
        output_schema=None if tool.output_schema is None else _schema(tool.output_schema),
        parameters=[parameter.name for parameter in tool.parameters],
        streaming=tool.streaming,
        idempotent=options.idempotent,
        read_only=options.read_only,
        isolation=tool.isolation,
        timeout=options.timeout,
        metadata=dict(options.metadata),
    )


def _schema(schema: dict[str, Any]) -> Raw:
    return Raw(msgspec.json.encode(schema))

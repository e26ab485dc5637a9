"""The tools of a registry, as MCP lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import mcp_types as types
import msgspec

from bridge.registry import Registry
from bridge.tool import Tool

__all__ = ["LINK", "META", "Catalog", "Listed", "Shape"]

META = "tool-bridge/"
"""What our keys in ``_meta`` begin with."""
LINK = "$link"
"""The one key of what stands for a structured result that is too large to be sent."""

Shape: TypeAlias = Literal["", "object", "wrapped"]
"""How a result is structured content: not at all; as it is; as ``{"result": ...}``, because revisions before 2026-07-28
know objects only."""

_Schema: TypeAlias = dict[str, Any]

_LINK_SCHEMA: _Schema = {
    "type": "object",
    "description": "The result is too large to be sent whole; it can be read there.",
    "properties": {LINK: {"type": "string", "format": "uri"}},
    "required": [LINK],
}

_SMALL = frozenset({"boolean", "integer", "number"})
"""Types of results that are never too large."""


class Listed(msgspec.Struct, frozen=True):
    """A tool as clients see it."""

    tool: types.Tool
    shape: Shape


class Catalog:
    """What ``tools/list`` says; made again when the registry has changed.

    Args:
        registry: the tools.
        links: whether a result may be a link to itself, which its schema then says.
    """

    def __init__(self, registry: Registry, *, links: bool) -> None:
        self._registry, self._links = registry, links
        self._revision = registry.revision
        self._listed = self._list()

    @property
    def tools(self) -> list[types.Tool]:
        """All tools, sorted by name."""
        return [listed.tool for listed in self._current().values()]

    def shape(self, name: str) -> Shape:
        """How the result of a tool is structured content. That of one which is not listed is not."""
        listed = self._current().get(name)
        return "" if listed is None else listed.shape

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """The schema of a tool's arguments, if it is listed."""
        listed = self._current().get(name)
        return None if listed is None else listed.tool.input_schema

    def _current(self) -> dict[str, Listed]:
        if self._registry.revision != self._revision:
            self._revision = self._registry.revision
            self._listed = self._list()
        return self._listed

    def _list(self) -> dict[str, Listed]:
        return {tool.name: _listed(tool, self._links) for tool in self._registry.tools}


def _listed(tool: Tool, links: bool) -> Listed:
    shape, schema = _output(tool, links)
    metadata = dict(tool.options.metadata)
    return Listed(
        types.Tool(
            name=tool.name,
            title=metadata.get("title"),
            description=tool.description or None,
            input_schema=tool.input_schema,
            output_schema=schema,
            annotations=types.ToolAnnotations(
                read_only_hint=tool.options.read_only, idempotent_hint=tool.options.idempotent
            ),
            _meta={META + "metadata": metadata} if metadata else None,
        ),
        shape,
    )


def _output(tool: Tool, links: bool) -> tuple[Shape, _Schema | None]:
    """The schema of the structured content of a tool's results, if they have any: text and bytes are content."""
    declared = tool.output_schema
    if declared is None or "contentEncoding" in declared:
        return "", None
    if declared.get("type") in ("string", "null") and not tool.streaming:
        return "", None
    definitions = declared.get("$defs", {})
    body = {key: value for key, value in declared.items() if key not in ("$schema", "$defs")}
    if tool.streaming:
        body = {"type": "array", "items": body}
    shape: Shape = "object" if _is_object(body, definitions) else "wrapped"
    if shape == "wrapped":
        body = {"type": "object", "properties": {"result": body}, "required": ["result"]}
    if links and (tool.streaming or declared.get("type") not in _SMALL):
        body = {"type": "object", "anyOf": [body, _LINK_SCHEMA]}
    return shape, {"type": "object", **body, **({"$defs": definitions} if definitions else {})}


def _is_object(schema: _Schema, definitions: Mapping[str, _Schema]) -> bool:
    if "$ref" in schema:
        schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
    return schema.get("type") == "object"

"""What a tool gave, as the content of an MCP result."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping
from typing import Any

import mcp_types as types
import msgspec

from bridge.mcp.catalog import LINK, Shape
from bridge.mcp.large_results import Kept, LargeResults
from bridge.mcp.plain import plain_json
from bridge.tool_messages import message_too_large

__all__ = ["Results"]

_JSON, _TEXT, _BYTES = "application/json", "text/plain", "application/octet-stream"

# The first bytes of what models can look at or listen to (https://mimesniff.spec.whatwg.org, section 6).
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"%PDF-", "application/pdf"),
)


class Results:
    """Makes results of values.

    Args:
        large: where those go that are too large.
        max_inline_bytes: of one text or one image; what is larger is linked to. 0: nothing is.
        max_message_bytes: of what is not linked to.
    """

    def __init__(self, large: LargeResults, max_inline_bytes: int, max_message_bytes: int) -> None:
        self._large, self._limit = large, max_inline_bytes
        self._max_message_bytes = max_message_bytes

    async def result(
        self, tool: str, value: Any, shape: Shape, metadata: Mapping[str, str], principal: str
    ) -> types.CallToolResult:
        """The result of a call.

        Args:
            tool: name of the tool.
            value: what it gave.
            shape: how that is structured content.
            metadata: of the tool; ``mime_type`` says what its bytes are.
            principal: who may fetch what is linked to.

        Raises ``BridgeError``: the value cannot be carried.
        """
        if not shape and _is_series(value):
            blocks = [await self._block(tool, item, metadata, principal) for item in value]
            return types.CallToolResult(content=[block for block, _ in blocks])
        if not shape and not isinstance(value, dict):
            block, _ = await self._block(tool, value, metadata, principal)
            return types.CallToolResult(content=[block])
        block, text = await self._block(tool, _Document(value), metadata, principal)
        structured: Any = {LINK: block.uri} if isinstance(block, types.ResourceLink) else msgspec.json.decode(text)
        if shape == "wrapped" and not isinstance(block, types.ResourceLink):
            structured = {"result": structured}
        return types.CallToolResult(content=[block], structured_content=structured)

    async def _block(
        self, tool: str, value: Any, metadata: Mapping[str, str], principal: str
    ) -> tuple[types.ContentBlock, bytes]:
        """A block of content, and the bytes that it holds or links to."""
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
            mime_type = metadata.get("mime_type") or _sniff(data)
        elif isinstance(value, str):
            data, mime_type = _utf8(tool, value), _TEXT
        else:
            data, mime_type = plain_json(tool, value.value if isinstance(value, _Document) else value), _JSON
            if data.startswith(b'"') and not isinstance(value, _Document):  # a time, say: models need no quotes
                data, mime_type = msgspec.json.decode(data, type=str).encode(), _TEXT
        if 0 < self._limit < len(data):
            return _link(tool, await self._large.keep(data, mime_type, principal)), data
        if len(data) > self._max_message_bytes:
            raise message_too_large(tool, len(data), self._max_message_bytes)
        if mime_type in (_TEXT, _JSON) and not isinstance(value, bytes | bytearray | memoryview):
            return types.TextContent(text=data.decode()), data
        return _binary(tool, data, mime_type), data


class _Document(msgspec.Struct, frozen=True):
    """A value that is JSON whatever else it could be."""

    value: Any


def _is_series(value: Any) -> bool:
    """Whether a list is one of blocks: bytes in JSON would be of no use to anybody."""
    return isinstance(value, list | tuple) and any(isinstance(item, bytes | bytearray | memoryview) for item in value)


def _utf8(tool: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return plain_json(tool, text)  # which says what is wrong


def _sniff(data: bytes) -> str:
    for offset, signature, mime_type in _SIGNATURES:
        if data.startswith(signature, offset):
            return mime_type
    return _BYTES


def _binary(tool: str, data: bytes, mime_type: str) -> types.ContentBlock:
    text = base64.b64encode(data).decode()
    kind = mime_type.partition("/")[0]
    if kind == "image":
        return types.ImageContent(data=text, mime_type=mime_type)
    if kind == "audio":
        return types.AudioContent(data=text, mime_type=mime_type)
    uri = f"tool-bridge://tools/{tool}/result{mimetypes.guess_extension(mime_type) or ''}"
    return types.EmbeddedResource(resource=types.BlobResourceContents(uri=uri, blob=text, mime_type=mime_type))


def _link(tool: str, kept: Kept) -> types.ResourceLink:
    return types.ResourceLink(
        name=kept.path.name,
        uri=kept.uri,
        size=kept.size,
        mime_type=kept.mime_type,
        description=f"The result of {tool}: {kept.size} bytes, too large to be shown here.",
    )

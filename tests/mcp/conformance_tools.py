"""The tools that the scenarios of @modelcontextprotocol/conformance call, by the names they have there."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Annotated, Any

import msgspec

from bridge import Adapter, SessionContext, ToolError, tool


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4))) + chunk(b"IEND", b"")


def _wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16))
    return file.getvalue()


class Address(msgspec.Struct):
    street: str = ""
    city: str = ""


class Conformance(Adapter):
    @tool
    async def test_simple_text(self) -> str:
        """Gives a text."""
        return "This is a simple text response for testing."

    @tool
    async def test_image_content(self) -> bytes:
        """Gives an image."""
        return _png()

    @tool
    async def test_audio_content(self) -> bytes:
        """Gives a sound."""
        return _wav()

    @tool(metadata={"mime_type": "text/plain"})
    async def test_embedded_resource(self) -> bytes:
        """Gives a resource."""
        return b"This is an embedded resource content."

    @tool
    async def test_multiple_content_types(self) -> Any:
        """Gives a text, an image and a resource."""
        return ["Multiple content types test:", _png(), b"bytes of a resource"]

    @tool
    async def test_tool_with_progress(self, ctx: SessionContext) -> str:
        """Tells how far it is."""
        for step in range(3):
            ctx.progress(step / 2, f"step {step}")
            await ctx.flush()
        return "done"

    @tool
    async def test_error_handling(self) -> str:
        """Fails."""
        raise ToolError("FAILED_PRECONDITION", "This tool intentionally returns an error for testing")

    @tool
    async def json_schema_2020_12_tool(
        self, name: Annotated[str, msgspec.Meta(description="A name")] = "", address: Address | None = None
    ) -> str:
        """Has a schema with definitions."""
        return name

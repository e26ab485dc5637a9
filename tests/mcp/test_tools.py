"""What the official client sees of tools, results and errors."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests.mcp.conftest import Connect
from tests.mcp.mcp_tools import PNG

ERROR = "tool-bridge/error"


def text_of(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def forget(folder: Path) -> None:
    for file in folder.glob("heard*"):
        file.unlink()


def modes(file: Path) -> tuple[int, int]:
    return file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777


async def test_tools_and_results_are_what_the_official_client_expects(connect: Connect) -> None:
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        add = tools["add"]
        assert (add.title, add.description) == ("Add numbers", "Adds.  a: the first number.")
        assert add.annotations is not None
        assert (add.annotations.read_only_hint, add.annotations.idempotent_hint) == (True, True)
        assert add.input_schema["properties"]["a"] == {"type": "integer", "description": "the first number."}
        assert add.input_schema["required"] == ["a"]
        assert tools["image"].output_schema is None

        # The client checks structured content by the schema itself.
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
        point = await client.call_tool("point", {"point": {"x": 1}})
        assert point.structured_content == {"x": 1, "y": 0.5}
        assert text_of(point) == '{"x":1,"y":0.5}'
        assert text_of(await client.call_tool("text", {"size": 3})) == "xxx"
        assert text_of(await client.call_tool("moment")) == "2026-07-28T00:00:00Z"
        assert (await client.call_tool("count", {"to": 3})).structured_content == {"result": [0, 1, 2]}


async def test_bytes_are_images_or_resources(connect: Connect) -> None:
    async with connect() as client:
        (image,) = (await client.call_tool("image")).content
        assert isinstance(image, types.ImageContent)
        assert (image.mime_type, base64.b64decode(image.data)) == ("image/png", PNG)
        (resource,) = (await client.call_tool("same", {"data": "aGk="})).content
        assert isinstance(resource, types.EmbeddedResource)
        assert isinstance(resource.resource, types.BlobResourceContents)
        assert base64.b64decode(resource.resource.blob) == b"hi"


async def test_a_list_with_bytes_is_a_block_for_each_item(connect: Connect) -> None:
    async with connect() as client:
        content = (await client.call_tool("mixed")).content
        assert [block.type for block in content] == ["text", "image", "text"]


async def test_J09_wrong_arguments_are_told_to_the_model_with_every_field(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("add", {"a": "x", "c": 1})
        assert result.is_error
        assert text_of(result) == "tool 'add': $.c is not a parameter; there is a, b; $.a expected int, got str"
        error = (result.meta or {})[ERROR]
        assert [violation["field"] for violation in error["violations"]] == ["$.c", "$.a"]


async def test_J14_errors_of_tools_are_results_without_a_traceback(connect: Connect) -> None:
    async with connect() as client:
        chosen = await client.call_tool("fails", {"how": "tool error"})
        assert (chosen.is_error, text_of(chosen)) == (True, "there is no such row")
        assert (chosen.meta or {})[ERROR] == {"code": "NOT_FOUND", "reason": "TOOL_ERROR", "metadata": {"row": "7"}}
        raised = await client.call_tool("fails", {"how": "otherwise"})
        assert text_of(raised) == "ValueError: no good ?"
        assert (raised.meta or {})[ERROR].keys() == {"code", "reason", "error_id"}


async def test_J15_what_json_cannot_hold_is_an_error_that_says_where(connect: Connect) -> None:
    async with connect() as client:
        for which, said in (("nan", "$[1] is NaN"), ("half", "surrogate"), ("object", "type object")):
            result = await client.call_tool("strange", {"which": which})
            assert result.is_error
            assert said in text_of(result)
            assert (result.meta or {})[ERROR]["reason"] == "UNSUPPORTED_RESULT"
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_J08_an_unknown_tool_is_a_protocol_error(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("ad")
        assert caught.value.code == types.INVALID_PARAMS
        assert "no tool 'ad'" in caught.value.message


async def test_C08_progress_grows_with_every_note_and_value(connect: Connect, tmp_path: Path) -> None:
    notes: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        notes.append((progress, total, message))
        (tmp_path / f"heard{len(notes) - 1}").touch()

    async with connect() as client:
        await client.call_tool("count", {"to": 3}, progress_callback=on_progress)
        assert notes == [(1.0, None, "0"), (2.0, None, "1"), (3.0, None, "2")]
        notes.clear()
        forget(tmp_path)
        await client.call_tool("steps", {"file": str(tmp_path / "heard")}, progress_callback=on_progress)
        assert notes == [(0.0, 1.0, "step 0"), (0.25, 1.0, "step 1"), (0.5, 1.0, "step 2")]


async def test_F10_large_results_are_links_that_can_be_read(connect: Connect) -> None:
    async with connect() as client:
        (link,) = (await client.call_tool("text", {"size": 100_000})).content
        assert isinstance(link, types.ResourceLink)
        assert (link.size, link.mime_type) == (100_000, "text/plain")
        (contents,) = (await client.read_resource(link.uri)).contents
        assert isinstance(contents, types.TextResourceContents)
        assert contents.text == "x" * 100_000
        if link.uri.startswith("file:"):
            assert modes(Path(link.uri.removeprefix("file://"))) == (0o600, 0o700)

        numbers = await client.call_tool("numbers", {"size": 10_000})
        (link,) = numbers.content
        assert isinstance(link, types.ResourceLink)
        assert numbers.structured_content == {"$link": link.uri}
        with pytest.raises(MCPError, match="no such resource"):
            await client.read_resource("file:///etc/passwd")


async def test_C10_variables_live_in_a_session_of_the_client(connect: Connect, mode: str) -> None:
    async with connect() as client:
        first = await client.call_tool("remember", {"value": 1})
        if first.is_error:  # revision 2026-07-28 has no sessions over HTTP
            assert mode == "auto"
            assert (first.meta or {})[ERROR]["reason"] == "NO_SESSION"
            return
        assert first.structured_content == {"result": None}
        assert (await client.call_tool("remember", {"value": 2})).structured_content == {"result": 1}


async def test_a_request_may_carry_its_trace(connect: Connect) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    meta: Any = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with connect() as client:
        assert text_of(await client.call_tool("trace", meta=meta)) == trace

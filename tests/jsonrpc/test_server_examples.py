"""The example servers, as the programs they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jsonrpc.programs import program
from tests.jsonrpc.serving import Client

URI = "file:///a%20b.txt"


async def opened(client: Client, text: str) -> Any:
    """Opens a document and gives what is said to be wrong with it."""
    client.notify("textDocument/didOpen", {"textDocument": {"uri": URI, "languageId": "x", "version": 1, "text": text}})
    told = await client.hear()
    assert told["method"] == "textDocument/publishDiagnostics"
    assert told["params"]["uri"] == URI
    return told["params"]["diagnostics"]


async def hover(client: Client, character: int) -> Any:
    position = {"line": 0, "character": character}
    return await client.result("textDocument/hover", {"textDocument": {"uri": URI}, "position": position})


async def test_language_server_speaks_as_an_editor_wants_it() -> None:
    async with program("examples/lsp_server.py") as (client, child):
        early = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}}
        assert (await client.error("textDocument/hover", early))["code"] == -32002
        capabilities = (await client.result("initialize", {"processId": None, "capabilities": {}}))["capabilities"]
        assert capabilities["hoverProvider"] is True
        client.notify("initialized", {})

        (problem,) = await opened(client, "hello wörld # TODO\n")
        assert problem["range"]["start"] == {"line": 0, "character": 14}
        assert (await hover(client, 7))["contents"] == "**wörld**: 5 letters"
        assert await hover(client, 12) is None

        change = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"text": "bye"}]}
        client.notify("textDocument/didChange", change)
        assert (await client.hear())["params"]["diagnostics"] == []
        assert (await hover(client, 0))["contents"] == "**bye**: 3 letters"

        assert await client.result("shutdown") is None
        client.notify("exit")
        assert await client.hear() is None
        assert await child.ends() == 0
        assert child.said == []


async def test_language_server_sees_each_change_before_what_is_asked_after_it() -> None:
    async with program("examples/lsp_server.py") as (client, _):
        await client.result("initialize", {})
        await opened(client, "x")
        where = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 0}}
        for size in range(1, 20):
            change = {"textDocument": {"uri": URI}, "contentChanges": [{"text": "x" * size}]}
            client.say(
                {"method": "textDocument/didChange", "params": change},
                {"id": size, "method": "textDocument/hover", "params": where},
            )
        heard = [message for _ in range(38) if "id" in (message := await client.hear())]
        assert {message["id"]: message["result"]["contents"] for message in heard} == {
            size: f"**{'x' * size}**: {size} letters" for size in range(1, 20)
        }


@pytest.mark.parametrize("title", ["Yes", "No"])
async def test_language_server_asks_the_user(title: str) -> None:
    async with program("examples/lsp_server.py") as (client, _):
        await client.result("initialize", {})
        await opened(client, "word")
        client.request("workspace/executeCommand", {"command": "todo.forget", "arguments": [URI]}, id="do")
        question = await client.hear()
        assert question["method"] == "window/showMessageRequest"
        client.say({"id": question["id"], "result": {"title": title}})
        if title == "Yes":
            assert (await client.hear())["method"] == "textDocument/publishDiagnostics"
        assert await client.hear() == {"jsonrpc": "2.0", "id": "do", "result": {"title": title}}
        assert (await hover(client, 0) is None) == (title == "Yes")


async def test_C02_language_server_takes_its_question_back_when_the_editor_cancels() -> None:
    async with program("examples/lsp_server.py") as (client, _):
        await client.result("initialize", {})
        client.request("workspace/executeCommand", {"command": "todo.forget", "arguments": [URI]}, id="do")
        question = await client.hear()
        client.notify("$/cancelRequest", {"id": "do"})
        heard = [await client.hear(), await client.hear()]
        assert {message.get("method") for message in heard} == {"$/cancelRequest", None}
        for message in heard:
            if "method" in message:
                assert message["params"] == {"id": question["id"]}
            else:
                assert message["error"]["code"] == -32800


async def test_mcp_like_server_lists_and_calls_its_tool() -> None:
    async with program("examples/mcp_server.py", framing="newline") as (client, child):
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        assert (await client.result("initialize", about))["protocolVersion"] == "2025-06-18"
        client.notify("notifications/initialized")
        assert await client.result("ping") == {}
        (tool,) = (await client.result("tools/list", {}))["tools"]
        assert tool["name"] == "add"
        call = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": {"progressToken": 1}}
        assert await client.result("tools/call", call) == {
            "content": [{"type": "text", "text": "3"}],
            "isError": False,
        }
        assert (await client.result("tools/call", {"name": "add", "arguments": {}}))["isError"] is True
        assert (await client.error("tools/call", {"name": "sub"}))["code"] == -32602
        client.writer.close()
        assert await child.ends() == 0


async def test_mcp_like_server_answers_the_official_client() -> None:
    mcp = pytest.importorskip("mcp", reason="needs the MCP SDK (pip install 'tool-bridge[mcp]')")
    stdio = pytest.importorskip("mcp.client.stdio")
    import sys

    from tests.jsonrpc.processes import ROOT, environment

    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=[str(ROOT / "examples/mcp_server.py")], env=dict(environment())
    )
    async with stdio.stdio_client(parameters) as streams, mcp.ClientSession(*streams) as session:
        await session.initialize()
        assert [tool.name for tool in (await session.list_tools()).tools] == ["add"]
        assert (await session.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"

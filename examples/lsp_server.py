"""A language server in one file: every TODO is a problem, and words can be hovered over.

    python examples/lsp_server.py

speaks the Language Server Protocol (https://microsoft.github.io/language-server-protocol) over stdin and stdout, as
editors want it. The text of open documents is in a variable of the session, which is all that handlers share.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bridge.jsonrpc import Context, Server

SERVER_NOT_INITIALIZED = -32002
WARNING, INFO = 2, 3

server = Server()


class Position(msgspec.Struct):
    """A place in a document; both numbers begin at 0."""

    line: int
    character: int


class Document(msgspec.Struct):
    """A document, and its text where that is sent along."""

    uri: str
    text: str = ""


class Change(msgspec.Struct):
    """The whole text, as ``initialize`` asks for it."""

    text: str


@server.method("initialize")
async def initialize(params: Any, ctx: Context) -> Any:
    await ctx.session.set("documents", {})
    return {
        "serverInfo": {"name": "todo"},
        "capabilities": {
            "textDocumentSync": 1,  # full
            "hoverProvider": True,
            "executeCommandProvider": {"commands": ["todo.forget"]},
        },
    }


@server.method("shutdown")
async def shutdown() -> None:
    return


@server.notification("exit")
async def end() -> None:
    server.request_stop()


@server.notification("textDocument/didOpen")
async def opened(textDocument: Document, ctx: Context) -> None:
    await keep(ctx, textDocument.uri, textDocument.text)


@server.notification("textDocument/didChange")
async def changed(textDocument: Document, contentChanges: list[Change], ctx: Context) -> None:
    await keep(ctx, textDocument.uri, contentChanges[-1].text)


@server.notification("textDocument/didClose")
async def closed(textDocument: Document, ctx: Context) -> None:
    await keep(ctx, textDocument.uri, None)


@server.method("textDocument/hover")
async def hover(textDocument: Document, position: Position, ctx: Context) -> Any:
    lines = (await documents(ctx)).get(textDocument.uri, "").splitlines()
    line = lines[position.line] if position.line < len(lines) else ""
    for word in re.finditer(r"\w+", line):
        if word.start() <= position.character <= word.end():
            return {"contents": f"**{word[0]}**: {len(word[0])} letters"}
    return None


@server.method("workspace/executeCommand", timeout=600)
async def execute(params: Any, ctx: Context) -> Any:
    """Closes a document, if the user, who may take his time, agrees. A cancel ends the question, too."""
    (uri,) = params["arguments"]
    question = {"type": INFO, "message": f"Forget {uri}?", "actions": [{"title": "Yes"}, {"title": "No"}]}
    choice = await ctx.request("window/showMessageRequest", question)
    if choice == {"title": "Yes"}:
        await keep(ctx, uri, None)
    return choice


async def documents(ctx: Context) -> dict[str, str]:
    """The texts by URI."""
    found = await ctx.session.get("documents", None)
    if found is None:
        ctx.fail(SERVER_NOT_INITIALIZED, "send initialize first")
    return dict(found)


async def keep(ctx: Context, uri: str, text: str | None) -> None:
    """Remembers a text, or forgets it, and tells what is wrong with it."""
    texts = await documents(ctx)
    if text is None:
        texts.pop(uri, None)
    else:
        texts[uri] = text
    await ctx.session.set("documents", texts)
    await ctx.notify("textDocument/publishDiagnostics", {"uri": uri, "diagnostics": problems(text or "")})


def problems(text: str) -> list[Any]:
    """A diagnostic for every TODO."""
    return [
        {
            "range": {
                "start": {"line": number, "character": todo.start()},
                "end": {"line": number, "character": todo.end()},
            },
            "severity": WARNING,
            "message": "something is left to do",
        }
        for number, line in enumerate(text.splitlines())
        for todo in re.finditer("TODO", line)
    ]


if __name__ == "__main__":
    raise SystemExit(server.run("stdio"))

"""Handlers that are found by their names."""

from __future__ import annotations

import os
import time
from typing import Any

from bridge.jsonrpc import Context, RpcFailure


def pid(ctx: Context) -> int:
    return os.getpid()


async def pid_async() -> int:
    return os.getpid()


def busy(a: int, ctx: Context) -> Any:
    """Uses everything a handler has."""
    ctx.sync.notify("told", {"a": a})
    ctx.sync.progress(a)
    ctx.sync.session.set("x", a)
    return [ctx.method, ctx.id, ctx.sync.request("client/echo", [a]), ctx.sync.session["x"]]


async def busy_async(a: int, ctx: Context) -> Any:
    """The same, awaiting."""
    await ctx.notify("told", {"a": a})
    await ctx.progress(a)
    await ctx.session.set("x", a)
    return [ctx.method, ctx.id, await ctx.request("client/echo", [a]), await ctx.session.get("x")]


def own_error() -> None:
    raise RpcFailure(-32002, "not initialized", {"retry": True})


def die() -> None:
    os._exit(3)


def stuck(ctx: Context) -> None:
    ctx.sync.notify("begun")
    while True:
        time.sleep(10)


def yields() -> Any:
    yield 1

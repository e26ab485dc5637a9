"""What the demonstration does, step by step. Each step calls a real server and checks what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from bridge.call import Progress as ToolProgress
from bridge.errors import BridgeError, Code
from bridge_client import BridgeClient

__all__ = ["STEPS", "Mismatch", "Skipped", "Stage", "Step"]


T = TypeVar("T")


class Mismatch(Exception):
    """A step got something else than it must get."""


class Skipped(Exception):
    """A step cannot be run here; its text says why."""


class Stage(msgspec.Struct, frozen=True):
    """What a step works with."""

    client: BridgeClient
    console: Console
    data: Path
    """Folder of the showcase's data."""

    async def show(self, written: str, call: Awaitable[T], form: Callable[[T], object] = repr) -> T:
        """Makes a call and shows it as a user would have written it, with what came back and how long it took.

        Args:
            written: the call in Python.
            call: the call.
            form: how to show what came back.
        """
        self.console.print(f"   [cyan]{escape(written)}[/]", highlight=False, soft_wrap=True)
        started = time.perf_counter()
        value = await call
        took = (time.perf_counter() - started) * 1000
        text = escape(str(form(value)))
        self.console.print(f"   [dim]→[/] {text}  [dim]{took:.1f} ms[/]", highlight=False, soft_wrap=True)
        return value


Step = Callable[[Stage], Awaitable[None]]


def check(what: str, got: object, wanted: object) -> None:
    """Fails the step unless the value and its type are the wanted ones."""
    if type(got) is not type(wanted) or got != wanted:
        raise Mismatch(f"{what} is {got!r}, and must be {wanted!r}")


async def failure(call: Awaitable[object]) -> BridgeError:
    """The error of a call that must fail."""
    try:
        value = await call
    except BridgeError as error:
        return error
    raise Mismatch(f"the call returned {value!r}, and must fail")


def described(error: BridgeError) -> str:
    """An error as a user sees it."""
    return f"{error} [{error.reason}]"


async def unary_tool(stage: Stage) -> None:
    """Sends a text and gets a dict; then asks a table and gets typed rows."""
    text = (stage.data / "gettysburg.txt").read_text(encoding="utf-8")
    counts = await stage.show(
        "word_count(text=<the Gettysburg Address>, top=3)", stage.client.call("word_count", text=text, top=3)
    )
    check("the count", counts, {"that": 13, "the": 11, "we": 10})

    rows = await stage.show(
        'find_elements(where={"block": "p", "period": 2})',
        stage.client.call("find_elements", where={"block": "p", "period": 2}),
        lambda rows: ", ".join(f"{row['symbol']} {row['weight']}" for row in rows),
    )
    check("the list of symbols", [row["symbol"] for row in rows], ["B", "C", "N", "O", "F", "Ne"])
    check("the weight of carbon", rows[1]["weight"], 12.011)


async def streaming_tool(stage: Stage) -> None:
    """Shows each note of progress while the tool runs."""
    columns = (TextColumn("  "), BarColumn(40), TextColumn("{task.description}"))
    fractions: list[float] = []
    with Progress(*columns, console=stage.console) as bar:
        task = bar.add_task("", total=1.0)

        def note(progress: ToolProgress) -> None:
            fractions.append(progress.fraction or 0.0)
            bar.update(task, completed=progress.fraction, description=progress.message)

        async def read() -> list[int]:
            stream = stage.client.stream("count_slowly", n=20, delay=0.05, on_progress=note)
            return [number async for number in stream]

        numbers = await stage.show(
            "count_slowly(n=20, delay=0.05)",
            read(),
            lambda numbers: f"{len(numbers)} values, {len(fractions)} notes of progress",
        )
    check("the stream", numbers, list(range(1, 21)))
    check("the last note of progress", fractions[-1:], [1.0])


async def session_variables(stage: Stage) -> None:
    """The client writes a variable, the tool reads and writes it through the host, the client sees the change."""
    async with stage.client.session() as session:
        version = await stage.show('session.set("temperature", 20.5)', session.set("temperature", 20.5))
        check("its version", version, 1)
        history = await stage.show("adjust_temperature(by=1.5)", session.call("adjust_temperature", by=1.5))
        check("the history", history, [20.5, 22.0])
        temperature = await stage.show('session.get("temperature")', session.get("temperature"))
        check("the variable", temperature, 22.0)

        added = asyncio.gather(*(session.call("add_to_total", amount=float(n)) for n in (1, 2, 3)))
        await stage.show("add_to_total(amount=1.0), (2.0) and (3.0), all at once", added)
        total = await stage.show(
            'session.get_variable("total")',
            session.get_variable("total"),
            lambda total: f"{total.value}, version {total.version}, written by {total.changed_by}",
        )
        check("the total", total.value, 6.0)
        check("its version", total.version, 3)


async def host_tool(stage: Stage) -> None:
    """The tool asks a tool of the host while it runs."""
    async with stage.client.session() as session:
        cents = await stage.show(
            'quote(item="coffee", quantity=3), which asks lookup_price on the host',
            session.call("quote", item="coffee", quantity=3),
            lambda cents: f"{cents} cents",
        )
    check("the price", cents, 1350)


async def numpy_arrays(stage: Stage) -> None:
    """An array goes there and another one comes back, with dtype and shape."""
    if find_spec("numpy") is None:
        raise Skipped("NumPy is not installed; it comes with: pip install 'tool-bridge[numpy]'")
    import numpy as np  # optional, so only here

    sent = np.arange(12.0).reshape(3, 4)
    result = await stage.show(
        f"normalise(values=<{sent.dtype} {sent.shape}>)",
        stage.client.call("normalise", values=sent),
        lambda array: f"<{array.dtype} {array.shape}>, {array.min():.3f} to {array.max():.3f}",
    )
    check("the type", type(result), np.ndarray)
    check("the dtype", result.dtype, sent.dtype)
    check("the shape", result.shape, (3, 4))
    check("the rounded array", result.round(4).tolist(), ((sent - 5.5) / sent.std()).round(4).tolist())


async def failing_tools(stage: Stage) -> None:
    """An error that the tool chose, an exception nobody planned for, and an argument of the wrong type."""
    chosen = await stage.show("withdraw(amount=250)", failure(stage.client.call("withdraw", amount=250)), described)
    check("the code", chosen.code, Code.FAILED_PRECONDITION)
    check("the reason", chosen.reason, "INSUFFICIENT_FUNDS")
    check("the missing amount", chosen.details.metadata.get("missing"), "150")

    unplanned = await stage.show("divide(a=1.0, b=0.0)", failure(stage.client.call("divide", a=1.0, b=0.0)), described)
    check("the code", unplanned.code, Code.UNKNOWN)
    check("the reason", unplanned.reason, "ZeroDivisionError")

    wrong = failure(stage.client.call("word_count", text=["no", "text"]))
    refused = await stage.show('word_count(text=["no", "text"])', wrong, described)
    check("the code", refused.code, Code.INVALID_ARGUMENT)
    check("the field", [violation.field for violation in refused.violations], ["$.text"])


async def deadline(stage: Stage) -> None:
    """A call is cut when its time is over, and the next one works."""
    slow = failure(stage.client.call("sleep", seconds=60.0, timeout=0.3))
    error = await stage.show("sleep(seconds=60.0), with timeout=0.3", slow, described)
    check("the code", error.code, Code.DEADLINE_EXCEEDED)
    slept = await stage.show("sleep(seconds=0.0), as the server goes on", stage.client.call("sleep", seconds=0.0))
    check("the result", slept, 0.0)


STEPS: tuple[tuple[str, Step], ...] = (
    ("A unary tool", unary_tool),
    ("A streaming tool with progress", streaming_tool),
    ("A session with variables", session_variables),
    ("A host tool called from inside a tool", host_tool),
    ("NumPy arrays both ways", numpy_arrays),
    ("Tools that fail", failing_tools),
    ("A call cut by its deadline", deadline),
)

"""``bridge snakepit``: for those who run adapters in Snakepit's pools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from bridge.cli import output
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import Debug, JsonOutput
from bridge.cli.problems import printable

if TYPE_CHECKING:
    from bridge.stock.check import Report

__all__ = ["SNAKEPIT_COMMANDS", "snakepit"]

_STYLES = {"ok": "green", "differs": "yellow", "problem": "bold red"}


def check(
    adapter: Annotated[
        str, typer.Argument(metavar="ADAPTER", help="package.module.Class, package.module:Class or file.py:Class")
    ],
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Import an adapter of a Snakepit pool, list its tools, and say what will be different here.

    Exit code 1 if it cannot be served. Example: bridge snakepit check my_pkg.Adapter
    """
    from bridge.cli.serve import import_from_current_folder
    from bridge.loader import load_adapters
    from bridge.stock.check import check as look_at

    import_from_current_folder()
    reports = [look_at(cls) for cls in load_adapters(adapter)]
    if json_output:
        output.show_json([_document(report) for report in reports])
    else:
        for report in reports:
            _show(report)
    return ExitCode.OK if all(report.works for report in reports) else ExitCode.FAILED


def _document(report: Report) -> dict[str, Any]:
    return {"works": report.works, **msgspec.to_builtins(report)}


def _show(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    title = f"Tools of {report.adapter}"
    table = Table("Tool", "Parameters", "What it does", title=Text(printable(title)), title_justify="left")
    for tool in report.tools:
        name = f"{tool.name} (streams)" if tool.streams else tool.name
        about = tool.description if tool.declared else "(not declared; execute_tool knows the name)"
        table.add_row(*(Text(printable(text)) for text in (name, tool.parameters, about)))
    if report.open_ended:
        table.add_row(Text("*"), Text(""), Text("any other name is given to execute_tool"))
    output.print_rich(table)
    if not report.stock:
        output.print_rich(Text("It is an adapter of the bridge: nothing of it is different."))
    for note in report.notes:
        mark = Text(f"{note.status:<8}", style=_STYLES[note.status])
        output.print_rich(mark + Text(f"{note.topic}: {printable(note.text)}", style="default"))
    if report.works:
        output.print_rich(Text("It can be served as it is.", style="green"))
    else:
        output.print_rich(Text("It cannot be served as it is.", style="bold red"))


def _print_path(wanted: bool) -> None:
    if wanted:
        from bridge import snakepit_worker

        typer.echo(Path(snakepit_worker.__file__).resolve().parent / "grpc_server.py")
        raise typer.Exit


def snakepit(
    path: Annotated[
        bool,
        typer.Option(
            "--print-path", help="Print the path of the script that a pool runs.", callback=_print_path, is_eager=True
        ),
    ] = False,
) -> None:
    """Serve adapters in the worker pools of Snakepit, for Elixir."""


SNAKEPIT_COMMANDS: dict[str, Callable[..., int]] = {"check": check}
"""By name, as ``bridge snakepit NAME``."""

"""Values for people: JSON with colours on a terminal; arrays, tables and bytes in a few lines."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bridge.cli.json_form import dumps
from bridge.cli.problems import printable

__all__ = ["document", "one_line", "print_rich", "show", "show_json", "summary"]

MAX_ROWS = 20
"""Rows of a table that are shown."""
MAX_BYTES = 32
"""Bytes that are shown."""
PIPE_WIDTH = 200
"""Columns of a pipe, which has no width of its own; what is cut off there is lost."""


def show_json(value: Any) -> None:
    """One document on one line of stdout."""
    sys.stdout.write(dumps(value) + "\n")
    sys.stdout.flush()


def show(value: Any) -> None:
    """Shows a result. To a file or a pipe text and bytes go as they are."""
    if not sys.stdout.isatty():
        _write(value)
    elif isinstance(value, str):
        sys.stdout.write(printable(value) + "\n")
    elif isinstance(value, dict | list):
        _show_document(value)
    elif _is_table(value):
        _show_table(value)
    else:
        sys.stdout.write(summary(value) + "\n")
    sys.stdout.flush()


def _write(value: Any) -> None:
    if isinstance(value, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
    elif isinstance(value, str):
        sys.stdout.write(value + "\n")
    else:
        sys.stdout.write(document(value) + "\n")


def print_rich(*parts: Any) -> None:
    """Prints what rich draws, such as tables, on stdout."""
    from rich.console import Console  # rich is slow to import

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for part in parts:
        console.print(part, highlight=False, markup=False)


def document(value: Any) -> str:
    """A value as indented JSON, with what JSON cannot hold in short words."""
    if isinstance(value, dict | list):
        return json.dumps(_readable(value), indent=2, ensure_ascii=False)
    return summary(value)


def _show_document(value: Any) -> None:
    from rich.console import Console  # rich is for terminals, and slow to import
    from rich.syntax import Syntax

    Console().print(Syntax(printable(document(value)), "json", background_color="default", word_wrap=True))


def _show_table(value: Any) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*map(printable, value.column_names))
    for row in value.slice(0, MAX_ROWS).to_pylist():
        table.add_row(*(Text(printable(str(cell))) for cell in row.values()))
    console = Console()
    console.print(table)
    console.print(summary(value), highlight=False, markup=False)


def _readable(value: Any) -> Any:
    """A container with what JSON cannot hold in short words."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else summary(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_readable(item) for item in value]
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return summary(value).partition("\n")[0]


def summary(value: Any) -> str:
    """A value in a few words or lines."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, bytes):
        more = " ..." if len(value) > MAX_BYTES else ""
        return f"<{len(value):,} bytes: {value[:MAX_BYTES].hex(' ')}{more}>"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, timedelta | Decimal | int | float | complex):
        return str(value)
    if _is_table(value):
        return f"<table of {value.num_rows:,} rows: {', '.join(map(printable, value.column_names))}>"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array_summary(value)
    if isinstance(value, str):
        return value
    return printable(dumps(value))


def one_line(value: Any, width: int) -> str:
    """A value in a few words on one line of at most ``width`` characters; text in quotes."""
    if isinstance(value, str | dict | list):
        text = printable(json.dumps(_readable(value), ensure_ascii=False))
    else:
        text = summary(value).partition("\n")[0]
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _is_table(value: Any) -> bool:
    return hasattr(value, "num_rows") and hasattr(value, "column_names")


def _array_summary(value: Any) -> str:
    head = f"<{value.dtype} array of shape {'x'.join(map(str, value.shape)) or 'one number'}>"
    if not hasattr(value, "tolist"):
        return head
    import numpy  # there, because the value is one of its arrays

    return f"{head}\n{numpy.array2string(value, threshold=100, edgeitems=3)}"

"""Typed rows: a CSV file becomes dataclasses, and dataclasses travel to the caller."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache
from statistics import fmean
from typing import Annotated, Literal

import msgspec

from bridge import Adapter, Code, ToolError, tool

from .library import read_data

__all__ = ["Element", "TableTools"]


@dataclass(frozen=True, slots=True)
class Element:
    """A chemical element."""

    number: int
    symbol: str
    name: str
    weight: float | None
    """`None` where no isotope is stable enough to have one."""
    group: int | None
    """`None` in the f-block."""
    period: int
    block: Literal["s", "p", "d", "f"]


COLUMNS = tuple(field.name for field in fields(Element))
AGGREGATES: dict[str, Callable[[Iterable[float]], float]] = {"mean": fmean, "min": min, "max": max, "sum": sum}


@cache
def elements() -> list[Element]:
    """The table, read once. `strict=False` makes numbers of digits; an empty field is `None`."""
    rows = csv.DictReader(read_data("elements.csv").splitlines())
    return [msgspec.convert({k: v or None for k, v in row.items()}, Element, strict=False) for row in rows]


def check_column(column: str) -> None:
    """Refuses a column that the table does not have."""
    if column not in COLUMNS:
        raise ToolError(Code.NOT_FOUND, f"no column {column!r}; there are {', '.join(COLUMNS)}", reason="NO_COLUMN")


class TableTools(Adapter):
    """Questions to the table of chemical elements."""

    @tool(idempotent=True, read_only=True)
    async def find_elements(
        self,
        where: dict[str, str | int | float],
        sort_by: str = "number",
        limit: Annotated[int, msgspec.Meta(ge=1)] = 20,
    ) -> list[Element]:
        """Elements whose columns equal all the given values, such as `{"block": "p", "period": 2}`."""
        for column in (*where, sort_by):
            check_column(column)
        found = [row for row in elements() if all(getattr(row, k) == v for k, v in where.items())]
        found.sort(key=lambda row: ((value := getattr(row, sort_by)) is None, value))
        return found[:limit]

    @tool(idempotent=True, read_only=True)
    async def summarise_elements(
        self, column: Literal["number", "weight"], by: str, how: Literal["mean", "min", "max", "sum"] = "mean"
    ) -> dict[str, float]:
        """One number per group of rows, such as the mean weight by period. Rows without the number are left out."""
        check_column(by)
        groups = defaultdict[str, list[float]](list)
        for row in elements():
            if (value := getattr(row, column)) is not None:
                groups[str(getattr(row, by))].append(value)
        return {name: AGGREGATES[how](values) for name, values in groups.items()}

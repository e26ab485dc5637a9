"""An adapter with all that a signature can say, for any Python and both kinds of ``bridge``."""

# ruff: noqa: UP006, UP007, UP035, UP045, B006, B008 - as people write for old Pythons

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, AsyncIterator, Dict, Iterator, List, Literal, NamedTuple, Optional, Tuple, TypedDict, Union

from bridge import Adapter, SessionContext, tool


class Color(enum.Enum):
    """What it looks like."""

    RED = "r"
    BLUE = "b"


@dataclasses.dataclass
class Point:
    """A place."""

    x: int
    y: float = 0.0
    color: Color | None = None


class Named(TypedDict):
    """Has a name."""

    name: str
    at: Point | None


class Pair(NamedTuple):
    """Two."""

    one: int
    other: str = "x"


class Described(Adapter):
    @tool
    def plain(self) -> None:
        """Does nothing."""

    @tool(name="other.name", timeout=2.5, idempotent=True, read_only=True, metadata={"a": "b"}, isolation="call")
    def documented(
        self,
        name: str,
        count: int = 10,
        point: Point | None = None,
        kind: Literal["a", "b"] = "a",
        *,
        flag: bool = False,
        data: Optional[bytes] = None,
        anything: Any = None,
        untyped=(1, 2),
    ) -> dict[str, list[Point]]:
        """Does a lot.

        And more of it.

        Args:
            name: who.
            count (int): how often.
            flag: whether.  kind: of what sort.

        Returns:
            Something.
        """
        raise NotImplementedError

    @tool
    def types(
        self,
        color: Color,
        named: Named,
        pair: Pair = Pair(1),
        numbers: list[int | float] | None = None,
        table: Dict[str, Tuple[int, ...]] = {},
        choice: Union[int, str, List[int], None] = None,
        when: datetime.datetime | None = None,
        day: datetime.date | None = None,
        span: datetime.timedelta | None = None,
        exact: decimal.Decimal | None = None,
        ident: uuid.UUID | None = None,
        these: set[str] | None = None,
    ) -> list[str]:
        """Says what it got."""
        got = (color, named, pair, numbers, table, choice, when, day, span, exact, ident, these)
        return [type(one).__name__ for one in got]

    @tool
    async def with_context(self, a: int, ctx: SessionContext) -> int:
        return a

    @tool(collect=True)
    async def streams(self, n: int) -> AsyncIterator[Point]:
        """Streams.

        :param n: how many
        """
        for number in range(n):
            yield Point(number)

    @tool
    def streams_plainly(self, n: int) -> Iterator[list[int]]:
        for number in range(n):
            yield [number]

    @tool(reads=["a", "b", "a"])
    def reads(self) -> object:
        return None

"""Showcase tools that take values and return values."""

from collections.abc import AsyncIterator

import pytest

from adapters.showcase import TableTools, TextTools
from bridge import BridgeError, Code
from bridge.testing import connect
from bridge_client import BridgeClient


@pytest.fixture
async def client() -> AsyncIterator[BridgeClient]:
    async with connect(TextTools, TableTools) as client:
        yield client


async def test_words_are_counted_without_regard_to_case(client: BridgeClient) -> None:
    counts = await client.call("word_count", text="To be, or not to be: that is the question", top=2)
    assert counts == {"to": 2, "be": 2}


async def test_apostrophes_and_hyphens_stay_inside_words(client: BridgeClient) -> None:
    counts = await client.call("word_count", text="summer's heart-ache, 'tis 42 - no")
    assert list(counts) == ["summer's", "heart-ache", "tis", "no"]


async def test_empty_text_has_no_words(client: BridgeClient) -> None:
    assert await client.call("word_count", text="") == {}


async def test_concordance_finds_whole_words_with_their_lines(client: BridgeClient) -> None:
    found = await client.call("concordance", word="Summer's", limit=2)
    assert [place["text"] for place in found] == [
        "And summer's green all girded up in sheaves",
        "Shall I compare thee to a summer's day?",
    ]
    assert [place["line"] for place in found] == [38, 47]


async def test_unknown_source_is_refused_with_the_field(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        await client.call("concordance", word="a", source="../README")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == ["$.source"]


async def test_rows_keep_the_types_of_their_columns(client: BridgeClient) -> None:
    (carbon,) = await client.call("find_elements", {"where": {"symbol": "C"}})
    assert carbon == {
        "number": 6,
        "symbol": "C",
        "name": "Carbon",
        "weight": 12.011,
        "group": 14,
        "period": 2,
        "block": "p",
    }
    (technetium,) = await client.call("find_elements", {"where": {"name": "Technetium"}})
    assert technetium["weight"] is None


async def test_missing_numbers_sort_last(client: BridgeClient) -> None:
    rows = await client.call("find_elements", where={}, sort_by="weight", limit=118)
    weights = [row["weight"] for row in rows]
    assert len(weights) == 118
    assert weights[0] == 1.008
    known = [weight for weight in weights if weight is not None]
    assert weights == [*sorted(known), *[None] * (118 - len(known))]


async def test_summary_has_one_number_per_group(client: BridgeClient) -> None:
    assert await client.call("summarise_elements", column="number", by="period", how="max") == {
        "1": 2.0,
        "2": 10.0,
        "3": 18.0,
        "4": 36.0,
        "5": 54.0,
        "6": 86.0,
        "7": 118.0,
    }


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("find_elements", {"where": {"colour": "grey"}}),
        ("find_elements", {"where": {}, "sort_by": "colour"}),
        ("summarise_elements", {"column": "weight", "by": "colour"}),
    ],
)
async def test_unknown_column_is_an_error_that_lists_the_columns(
    client: BridgeClient, tool: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(BridgeError, match="no column 'colour'; there are number, symbol") as caught:
        await client.call(tool, arguments)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NO_COLUMN")

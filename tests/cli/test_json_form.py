"""Values as JSON documents for scripts, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.json_form import dumps, loads
from bridge.json_form import to_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC))
    | st.timedeltas(min_value=timedelta(days=-10_000), max_value=timedelta(days=10_000))
)
KEYS = st.text() | st.integers() | st.sampled_from(["$bytes", "$map", "$float"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (b"hi", {"$bytes": "aGk="}),
        (float("inf"), {"$float": "inf"}),
        (Decimal("1.10"), {"$decimal": "1.10"}),
        (datetime(2024, 1, 2, tzinfo=UTC), {"$datetime": "2024-01-02T00:00:00+00:00"}),
        (timedelta(seconds=-1.5), {"$duration": "-1.500000s"}),
        ({1: "a"}, {"$map": [[1, "a"]]}),
        ({"$bytes": "mine"}, {"$map": [["$bytes", "mine"]]}),
        ({"$a": 1, "b": 2}, {"$a": 1, "b": 2}),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}),
        ((1, 2), [1, 2]),
        (Struct(fields={}), {"$message": {"type": "google.protobuf.Struct", "value": {}}}),
    ],
)
def test_what_json_cannot_hold_has_a_documented_form(value: Any, document: Any) -> None:
    assert json.loads(dumps(value)) == document


def test_arrays_come_back_with_type_and_shape() -> None:
    numpy = pytest.importorskip("numpy")
    for array in (
        numpy.array([[1.5, float("nan")], [0.0, -1.0]]),
        numpy.array([1 + 2j]),
        numpy.array(3, dtype="int8"),
        numpy.zeros((0, 2), dtype="float32"),
        numpy.array([True, False]),
    ):
        back = loads(dumps(array))
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        numpy.testing.assert_array_equal(back, array)


def test_tables_come_back_with_their_columns() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"name": ["a", None], "data": [b"x", b"y"]})
    assert to_json(table) == {
        "$table": {"columns": ["name", "data"], "rows": [["a", {"$bytes": "eA=="}], [None, {"$bytes": "eQ=="}]]}
    }
    assert loads(dumps(table)).to_pylist() == table.to_pylist()


@pytest.mark.parametrize(
    "document",
    ['{"$bytes": "?"}', '{"$array": {}}', '{"$map": [1]}', '{"$decimal": "x"}', '{"$duration": 5}', '{"$datetime": 5}'],
)
def test_damaged_form_is_no_value(document: str) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        loads(document)


@pytest.mark.parametrize(
    "dtype",
    ['"(1,i4"', '"U500000000"', '"(100000000,)f8"', '{"names": ["a"], "formats": ["i4"], "itemsize": 1000000000}'],
)
def test_array_whose_type_is_broken_or_takes_too_much_room_is_no_value(dtype: str) -> None:
    pytest.importorskip("numpy")
    with pytest.raises(ValueError, match="array"):
        loads(f'{{"$array": {{"dtype": {dtype}, "shape": [1], "values": [1]}}}}')


def test_arrays_of_texts_come_back() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.array(["a", "", "longer"])
    back = loads(dumps(array))
    assert (back.dtype, list(back)) == (array.dtype, list(array))

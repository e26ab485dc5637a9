"""What the codec's tests share: values to try, and an equality that sees every difference."""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import settings
from hypothesis import strategies as st

from bridge.codec import decode, pack

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=150)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, all the way down: 1 is not True and not 1.0, 0.0 is not -0.0, NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.isnan(a) and math.isnan(b) if a != a else a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)


def carried(value: Any) -> Any:
    """The value after a round trip through bytes, as over a wire."""
    return decode(AnyMessage.FromString(pack(value).SerializeToString()))


def url(value: Any) -> str:
    """The name of the message a value is carried by."""
    return pack(value).type_url.rpartition("/")[2]


LONGEST = timedelta(seconds=315_576_000_000, microseconds=999_999)

text = st.text(st.characters(codec="utf-8"), max_size=20)
integers = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
datetimes = st.datetimes(timezones=st.just(UTC))
timedeltas = st.timedeltas(-LONGEST, LONGEST)
decimals = st.decimals(allow_nan=False, allow_infinity=False)

exact_leaves = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | text
all_leaves = exact_leaves | st.floats() | st.binary(max_size=40) | datetimes | timedeltas | decimals

json_values = st.recursive(
    exact_leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5), max_leaves=20
)
# Keys of which none equals another: 1, 1.0 and True are one key in Python. Text comes first, as Map puts it.
mixed_keys = st.dictionaries(text, st.none(), max_size=3).flatmap(
    lambda first: st.dictionaries(st.integers() | st.binary(max_size=5), st.none(), max_size=3).map(
        lambda second: [*first, *second]
    )
)
values = st.recursive(
    all_leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(text, inner, max_size=5)
        | mixed_keys.flatmap(
            lambda keys: st.lists(inner, min_size=len(keys), max_size=len(keys)).map(
                lambda items: dict(zip(keys, items, strict=True))
            )
        )
    ),
    max_leaves=20,
)

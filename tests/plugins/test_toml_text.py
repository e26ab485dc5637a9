"""What is written as TOML is read as the same."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plugins.toml_text import toml_text

# Python's text may hold halves of surrogate pairs, which no file can.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(PLAIN, lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXT, inner)), max_leaves=12)


@given(st.dictionaries(TEXT, VALUES))
def test_what_is_written_is_read_as_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(table)) == table


def test_it_is_written_for_people() -> None:
    table = {"name": "ocr", "none": None, "env": {"set": {"A": "1"}}, "limits": {"workers": 2}, "path": []}
    assert toml_text(table) == 'name = "ocr"\npath = []\n\n[env.set]\nA = "1"\n\n[limits]\nworkers = 2\n'


@pytest.mark.parametrize("value", [date(2024, 1, 1), [None], b"x", {1}])
def test_what_has_no_place_in_it_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no place"):
        toml_text({"a": value})

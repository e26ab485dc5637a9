"""Patterns over names of variables."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.hosts.glob import Glob


@given(st.text("ab*?.", max_size=12), st.text("ab.", max_size=12))
def test_glob_agrees_with_a_regular_expression(pattern: str, name: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern or "*")
    assert Glob(pattern).matches(name) == bool(re.fullmatch(expression, name))


def test_empty_pattern_matches_everything() -> None:
    assert Glob("").matches("anything")


def test_pattern_meant_to_blow_up_is_answered() -> None:
    assert not Glob("*a" * 127 + "*b").matches("a" * 256)
    assert not Glob("*?a" * 85).matches("b" * 256)


@pytest.mark.parametrize("pattern", ["[ab]", "a b", "a" * 257, "\0", "é", "\\*"])
def test_other_characters_are_refused(pattern: str) -> None:
    with pytest.raises(BridgeError) as refusal:
        Glob(pattern)
    assert refusal.value.reason == "PATTERN_REFUSED"

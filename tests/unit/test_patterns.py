"""Patterns as constraints: RE2's syntax, the whole text, linear time, bounded memory."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge.patterns import MAX_PATTERN_LENGTH, MAX_STEPS, mismatch, pattern_problem
from bridge.variable_types import check_constraints, check_value
from bridge.variables import Constraints

re2 = pytest.importorskip("re2")


def _refusal(pattern: str, text: str = "") -> BridgeError:
    with pytest.raises(BridgeError) as refusal:
        mismatch(pattern, text)
    return refusal.value


@pytest.mark.parametrize(
    ("pattern", "fine", "bad"),
    [
        ("[a-z]+", "abc", "abc1"),
        ("a|ab", "ab", "abb"),
        ("a$", "a", "a\n"),
        (".", "é", "\n"),
        ("(?s).", "\n", "ab"),
        ("..", "😀é", "😀"),
        (r"\pL{1,64}", "Žluťoučký", "no way"),
        ("(?i)straße", "STRAßE", "strasse"),
        ("\0+", "\0\0", ""),
        (r"\d+", "12", "١٢"),
        ("(?:)", "", "a"),
        (r"\Qa.c", "a.c", "abc"),
    ],
)
def test_the_whole_text_must_match(pattern: str, fine: str, bad: str) -> None:
    constraints = Constraints(pattern=pattern)
    check_constraints("string", constraints)
    assert check_value("x", "string", fine, constraints) == fine
    with pytest.raises(BridgeError) as refusal:
        check_value("x", "string", bad, constraints)
    assert (refusal.value.code, refusal.value.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINT_VIOLATED")


def test_violation_names_the_constraint_and_not_the_value() -> None:
    with pytest.raises(BridgeError, match="pattern") as refusal:
        check_value("colour", "string", "hunter2", Constraints(pattern="[a-f]+"))
    assert refusal.value.message == "colour: violates pattern [a-f]+ of a variable of type string, got str"


@pytest.mark.parametrize("pattern", ["a" * 101, "a\x1b[2J".replace("[", r"\["), "a\n"])
def test_long_or_unprintable_pattern_is_not_shown(pattern: str) -> None:
    assert mismatch(pattern, "b") == "pattern"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?=a)b", "invalid perl operator: (?="),
        ("(?!a)b", "invalid perl operator: (?!"),
        ("(?<=a)b", "invalid perl operator: (?<="),
        ("(?<!a)b", "invalid perl operator: (?<!"),
        ("(", "missing ): ("),
        ("[b-a]", "invalid character class range: b-a"),
        ("*", "no argument for repetition operator: *"),
        ("a{1001}", "invalid repetition size"),
        ("((a{0,100}){0,100}){0,100}", "invalid repetition size"),
        ("((a{0,30}b?){0,30}c?){0,30}", "invalid repetition size"),
        (r"\pL{1,1000}", "pattern too large"),
        (r"(\pL{10}|){90}" * 5, "pattern too large"),
        ("[^a]{1000}" * 99, "pattern too large"),
        (r"\p{Nobody}", "invalid character class range"),
    ],
)
def test_what_re2_cannot_match_is_refused_with_its_reason(pattern: str, said: str) -> None:
    error = _refusal(pattern)
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CONSTRAINTS_REFUSED")
    assert error.violations[0].field == "constraints.pattern"
    assert said in error.message


def test_refusal_does_not_repeat_a_long_pattern() -> None:
    error = _refusal("(" + "x" * (MAX_PATTERN_LENGTH - 1))
    assert "missing )" in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize("pattern", ["a" * (MAX_PATTERN_LENGTH + 1), "\ud800", "[\udfff]", 7, b"a", None])
def test_what_has_no_form_of_a_pattern_is_refused_without_re2(pattern: str) -> None:
    with pytest.raises(BridgeError) as refusal:
        check_constraints("string", Constraints(pattern=pattern))
    assert (refusal.value.reason, refusal.value.violations[0].field) == ("CONSTRAINTS_REFUSED", "constraints.pattern")
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("pattern", ["a" * (MAX_PATTERN_LENGTH + 1), "\ud800"])
def test_form_is_looked_at_again_where_a_pattern_is_obeyed(pattern: str) -> None:
    assert _refusal(pattern).reason == "CONSTRAINTS_REFUSED"


def test_pattern_of_full_length_is_taken() -> None:
    assert pattern_problem("a" * MAX_PATTERN_LENGTH) == ""
    assert mismatch("a" * MAX_PATTERN_LENGTH, "a" * MAX_PATTERN_LENGTH) == ""


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb"])
def test_text_with_a_lone_surrogate_matches_nothing(text: str) -> None:
    assert "surrogate" in mismatch("(?s).*", text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+", "(a*)*", "(?:a?){500}a{500}", "(.*)(.*)(.*)(.*)x"])
def test_pattern_that_blows_up_elsewhere_ends(pattern: str) -> None:
    assert mismatch(pattern, "a" * 30_000 + "b") == f"pattern {pattern}"


def test_long_text_against_a_small_pattern_ends() -> None:
    assert mismatch("(a+)+$", "a" * 100_000 + "b") == "pattern (a+)+$"
    assert mismatch("(a+)+$", "a" * 100_000) == ""


def test_work_of_one_match_is_bounded() -> None:
    """What makes RE2 slow is many states at a time: a byte then costs as much as the pattern is large."""
    pattern = "[ab]*a[ab]{999}"
    size = re2.compile(pattern).programsize
    longest = MAX_STEPS // size
    assert mismatch(pattern, "ab" * (longest // 2)) == ""
    assert f"at most {longest} bytes" in mismatch(pattern, "ab" * longest)


def test_pattern_without_re2_is_a_precondition_not_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    constraints = Constraints(pattern="only-here-and-not-cached[0-9]+")
    check_constraints("string", constraints)
    with pytest.raises(BridgeError, match=r"pip install 'tool-bridge\[patterns\]'") as refusal:
        check_value("x", "string", "only-here-and-not-cached1", constraints)
    assert (refusal.value.code, refusal.value.reason) == (Code.FAILED_PRECONDITION, "PATTERN_UNSUPPORTED")


_PIECES = st.sampled_from(["a", "b", "é", r"\.", "[ab]", "[^a]", "[a-é]", "😀"])
_PATTERNS = st.recursive(
    _PIECES,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}"])),
    ),
    max_leaves=6,
)


@given(_PATTERNS, st.text("abé.😀\n", max_size=8))
def test_re2_and_python_agree(pattern: str, text: str) -> None:
    assert (mismatch(pattern, text) == "") == (re.fullmatch(pattern, text) is not None)

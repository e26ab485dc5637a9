"""Small values as Go 1.26 reads and writes them; what is expected is what Go says."""

from __future__ import annotations

import pytest

from bridge.goplugin.go_values import atoi, parse_bool, quote, trim_space


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-0", 0), ("+010", 10), ("-9223372036854775808", -(2**63)), ("0" * 5000 + "7", 7)],
)
def test_numbers_have_one_sign_and_any_count_of_zeros(text: str, number: int) -> None:
    assert atoi(text) == number


@pytest.mark.parametrize("text", ["", "+", "--1", "1_0", " 1", "1\n", "1.0", "0x1", "\u0663"])
def test_what_is_no_number_is_told_in_go_s_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"^strconv.Atoi: parsing .*: invalid syntax$"):
        atoi(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" * 5000])
def test_numbers_have_64_bits(text: str) -> None:
    with pytest.raises(ValueError, match="value out of range"):
        atoi(text)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ('a"\\', r'"a\"\\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1f\x7f", r'"\x00\x1f\x7f"'),
        ("\x80\xa0\u2028", r'"\u0080\u00a0\u2028"'),
        ("\U0010ffff", r'"\U0010ffff"'),
        ("\udcff", r'"\xff"'),
        ("é😀", '"é😀"'),
    ],
)
def test_quotes_are_those_of_q(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_space_is_unicode_s_without_the_separators_of_ascii() -> None:
    assert trim_space("\t\u3000\x85\x1ca b\u200b \r\n") == "\x1ca b\u200b"


def test_booleans_have_six_spellings_each() -> None:
    assert [parse_bool(text) for text in ("t", "1", "TRUE", "f", "0", "False")] == [True] * 3 + [False] * 3
    assert [parse_bool(text) for text in ("", "yes", "tRUE", " true")] == [None] * 4

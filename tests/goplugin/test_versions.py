"""Which version of the application's protocol a plugin and its host speak."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.goplugin.versions import check_version, negotiate, offer, parse_offered

VERSIONS = st.sets(st.integers(-5, 300), max_size=6)


@pytest.mark.parametrize(
    ("served", "offered", "spoken"),
    [
        ({2, 3}, "3", 3),
        ({2, 3}, "3,2", 3),
        ({3, 2}, "2,9", 2),
        ({2, 3}, "9", 2),
        ({2, 3}, "", 2),
        ({2, 3}, None, 2),
        ({250}, "1,250", 250),
        ({0, 5}, "0", 0),
        ({2, 10}, "+010", 10),
    ],
)
def test_the_highest_version_both_speak_is_spoken_or_else_the_lowest(
    served: set[int], offered: str | None, spoken: int
) -> None:
    assert negotiate(served, offered) == spoken


@given(VERSIONS.filter(bool), VERSIONS)
def test_a_host_refuses_a_plugin_only_if_they_have_no_version_in_common(served: set[int], offered: set[int]) -> None:
    spoken = negotiate(served, offer(offered))
    if served & offered:
        check_version(spoken, offered)
        assert spoken == max(served & offered)
    else:
        with pytest.raises(BridgeError):
            check_version(spoken, offered)


def test_items_that_are_no_numbers_are_logged_and_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert negotiate({1, 2}, "x, 2,,1,1_0\n") == 1
    assert [record.getMessage() for record in caplog.records] == [
        r'the host offers protocol versions that are no numbers: "x", " 2", "", "1_0\n"; they are not counted'
    ]


@given(st.text())
def test_whatever_a_host_offers_is_numbers_and_bad_items(text: str) -> None:
    versions, bad = parse_offered(text)
    assert len(versions) + len(bad) == (text.count(",") + 1 if text else 0)


@given(VERSIONS)
def test_what_a_host_offers_is_sorted_and_read_back(versions: set[int]) -> None:
    assert parse_offered(offer(versions)) == (sorted(versions), [])


def test_a_refusal_has_go_s_words() -> None:
    with pytest.raises(BridgeError) as caught:
        check_version(4, [3, 1])
    words = "incompatible API version with plugin. Plugin version: 4, Client versions: [1 3]"
    assert (caught.value.reason, words in caught.value.message) == ("APP_VERSION", True)


def test_a_plugin_that_serves_nothing_is_refused() -> None:
    with pytest.raises(BridgeError, match="INVALID_ARGUMENT"):
        negotiate((), "1")

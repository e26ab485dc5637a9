"""The page of scenarios."""

from __future__ import annotations

from tests.scenarios import GROUPS, PAGE, page, shown


def test_every_scenario_has_a_test_and_the_page_says_which() -> None:
    assert sorted(shown()) == sorted(id for scenarios in GROUPS.values() for id in scenarios)
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.scenarios`"

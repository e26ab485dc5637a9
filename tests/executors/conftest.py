"""Fixtures of the executors' tests."""

from __future__ import annotations

import pytest

from tests.support import probes


@pytest.fixture
def events(journal: probes.Journal) -> probes.Journal:
    """The journal, for events of worker processes; to be asked for before the server is started."""
    journal.listen()
    return journal

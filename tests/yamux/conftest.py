"""The real thing to talk to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.go_programs import build


@pytest.fixture(scope="session")
def yamuxpeer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that is one side of a session of hashicorp/yamux."""
    return build("yamuxpeer", tmp_path_factory.mktemp("go"))

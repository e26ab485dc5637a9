"""The real thing to talk to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.go_programs import build


@pytest.fixture(scope="session")
def yamuxpeer() -> Path:
    """A program that is one side of a session of hashicorp/yamux."""
    return build("yamuxpeer")

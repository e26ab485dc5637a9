"""pyvider-rpcplugin, the other implementation in Python, in a virtual environment of its own."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import msgspec
import pytest

from bridge.errors import BridgeError
from bridge.plugins.environment import create
from bridge.plugins.installers import Plan
from tests.support.go_programs import cache_folder

__all__ = ["COOKIE", "IMPATIENT", "VERSION", "Pyvider", "make_pyvider"]

VERSION = "0.5.5"

COOKIE = {"PLUGIN_MAGIC_COOKIE_KEY": "BASIC_PLUGIN", "PLUGIN_MAGIC_COOKIE_VALUE": "hello", "BASIC_PLUGIN": "hello"}
"""What pyvider reads at its import. A plugin gets the last one from its host."""

IMPATIENT = {"PLUGIN_CLIENT_RETRY_ENABLED": "false", "PLUGIN_CHANNEL_READY_TIMEOUT": "2"}
"""A host with this fails at once where it would try for half a minute."""

_CHECKOUT = Path(__file__).parent.parent.parent


class Pyvider(msgspec.Struct, frozen=True):
    """Where it is installed."""

    python: Path

    def plugin(self) -> list[str | Path]:
        """The command of a plugin that serves KV, Streamer and Probe."""
        return [self.python, "-m", "tests.goplugin.pyvider_plugin"]

    def host(self, plugin: list[str | Path]) -> list[str | Path]:
        """The command of a host for ``go_host``."""
        return [self.python, "-m", "tests.goplugin.pyvider_host", *plugin]

    def environment(self, **variables: str) -> dict[str, str]:
        """What both need, and variables."""
        # It behaves otherwise where pytest's variable says that it is tested.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return {**inherited, **COOKIE, "PYTHONPATH": str(_CHECKOUT), "PLUGIN_LOG_LEVEL": "ERROR", **variables}


def make_pyvider() -> Pyvider:
    """Installs it, once for all sessions of this user. Skips the test if that cannot be done."""
    made = _made()
    if isinstance(made, str):
        pytest.skip(made)
    return made


@functools.cache
def _made() -> Pyvider | str:
    """It, or why it is not there: who has no network finds out once."""
    version = "{}.{}".format(*sys.version_info)
    place = cache_folder() / f"pyvider-{VERSION}-python-{version}"
    try:
        create(place, Plan(extra=(f"pyvider-rpcplugin=={VERSION}",)), tell=lambda _: None)
    except BridgeError as error:
        return f"needs pyvider-rpcplugin from the package index: {error}"
    return Pyvider(place / "bin" / "python")

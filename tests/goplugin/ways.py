"""The ways in which a host and a plugin of ours can be connected, and a Go host with such a plugin in each of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.goplugin.go_host import GoHost

__all__ = ["CHECKOUT", "OUR_PLUGIN", "SECONDS", "WAYS", "Run", "Way", "runs_in"]

CHECKOUT = Path(__file__).parents[2]
OUR_PLUGIN: Sequence[str] = (sys.executable, "-m", "tests.goplugin.our_plugin")
"""Command; its folder is the checkout."""
SECONDS = 30
"""That a test may take."""

Run = Callable[..., AbstractAsyncContextManager[GoHost]]
"""``run(*flags_of_the_plugin, host=flags_of_the_host, env=environment)``."""


class Way(msgspec.Struct, frozen=True):
    """How connections are secured, and whether all share one."""

    tls: str
    multiplexed: bool

    def __str__(self) -> str:
        return f"{self.tls}, multiplexed" if self.multiplexed else self.tls

    def flags(self, static_tls: Sequence[str]) -> tuple[list[str], list[str]]:
        """Of the host and of the plugin; ``static_tls`` are those of both for that."""
        mux = ["-mux"] if self.multiplexed else []
        if self.tls == "AutoMTLS":
            return ["-automtls", *mux], []
        shared = list(static_tls) if self.tls == "static TLS" else []
        return [*shared, *mux], shared


WAYS = [Way(tls, multiplexed) for tls in ("plain", "AutoMTLS", "static TLS") for multiplexed in (False, True)]


def runs_in(way: Way, run_go_host: Run, static_tls: Sequence[str]) -> Run:
    """Runs a Go host with a plugin of ours; the whole may take ``SECONDS``."""
    of_host, of_plugin = way.flags(static_tls)

    @asynccontextmanager
    async def run(*flags: str, host: Sequence[str] = (), **options: Any) -> AsyncIterator[GoHost]:
        command = [*OUR_PLUGIN, *of_plugin, *flags]
        async with (
            asyncio.timeout(SECONDS),
            run_go_host(command, *of_host, *host, cwd=CHECKOUT, **options) as running,
        ):
            yield running

    return run

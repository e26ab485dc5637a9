"""What hosts need of a plugin that are stricter, or less patient, than those of go-plugin."""

from __future__ import annotations

import asyncio
import sys

import pytest

from bridge.goplugin.transport.identity import make_identity
from tests.goplugin.raw_plugin import ended_badly, raw_plugin, sockets_in
from tests.goplugin.ways import SECONDS

PLUGIN = """
import os, signal, sys
from bridge.goplugin import HandshakeConfig, Plugin, serve
from bridge.goplugin.serving import lifetime

class Nothing(Plugin):
    def register(self, server, broker):
        pass

def signals(wanted, now=sys.argv[1], kill=os.kill, me=os.getpid(), numbers=(signal.SIGTERM, signal.SIGINT)):
    if now == wanted:
        for number in numbers:
            kill(me, number)

class Lifetime(lifetime.Lifetime):
    def start(self):
        signals("before it serves")
        super().start()

    def close(self):
        super().close()
        signals("while it clears up")

lifetime.Lifetime = Lifetime
class Last:
    def __del__(self, signals=signals):
        signals("when Python ends")

last = Last()
handshake = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")
serve(handshake=handshake, plugins={"nothing": Nothing()})
signals("at its exit")
"""
"""Gets signals when it is told."""


@pytest.mark.parametrize("when", ["while it clears up", "at its exit", "when Python ends"])
async def test_signals_change_nothing_for_a_plugin_that_is_ending(when: str) -> None:
    async with asyncio.timeout(SECONDS), raw_plugin(when, command=(sys.executable, "-c", PLUGIN)) as plugin:
        plugin.process.terminate()
        assert await plugin.rest() == (0, "", "")
        assert sockets_in(plugin.folder) == []


async def test_a_signal_ends_a_plugin_that_does_not_serve_yet() -> None:
    command = (sys.executable, "-c", PLUGIN)
    async with asyncio.timeout(SECONDS), raw_plugin("before it serves", command=command) as plugin:
        assert (await plugin.rest())[0] == -15
        assert plugin.line == ""


def test_the_certificate_of_a_run_needs_no_padding_in_the_handshake_line() -> None:
    assert {len(make_identity().der) % 3 for _ in range(20)} == {0}


@pytest.mark.parametrize("level", ["INFO", "Warn", "WARNING", "critical"])
async def test_the_level_of_logs_may_have_the_name_that_others_know(level: str) -> None:
    async with asyncio.timeout(SECONDS), raw_plugin(env={"PLUGIN_LOG_LEVEL": level}) as plugin:
        assert plugin.handshake.network == "unix"


async def test_a_level_of_logs_that_nobody_knows_is_told() -> None:
    async with asyncio.timeout(SECONDS):
        assert "PLUGIN_LOG_LEVEL" in await ended_badly(env={"PLUGIN_LOG_LEVEL": "loud"})

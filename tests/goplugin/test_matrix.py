"""Every host with every plugin in every way to connect them: what is said to work does, and what is not does not."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.goplugin import matrix
from tests.goplugin.conftest import RunGoHost
from tests.goplugin.matrix_run import COLUMNS, COMBINATIONS, Combination, Programs
from tests.goplugin.pyvider_install import Pyvider
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN
from tests.support import go_programs

SECONDS = 50
"""That a test may take."""


@pytest.mark.parametrize("combination", [it for it in COMBINATIONS if not it.has_pyvider], ids=str)
async def test_go_and_ours_do_together_what_the_matrix_says(
    combination: Combination, go_plugin: Path, run_go_host: object, static_tls: list[str]
) -> None:
    programs = Programs(go_programs.build("host"), go_plugin, static_tls)
    async with asyncio.timeout(SECONDS):
        assert await matrix.differences(programs, combination) == []


@pytest.mark.parametrize("combination", [it for it in COMBINATIONS if it.has_pyvider], ids=str)
async def test_pyvider_does_with_others_what_the_matrix_says(
    combination: Combination, go_plugin: Path, run_go_host: object, static_tls: list[str], pyvider: Pyvider
) -> None:
    programs = Programs(go_programs.build("host"), go_plugin, static_tls, pyvider)
    async with asyncio.timeout(SECONDS):
        assert await matrix.differences(programs, combination) == []


async def _lets_a_stranger_in(address: str) -> bool:
    """Whether a plugin's server speaks to who shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_unix_connection(address, ssl=context, server_hostname="localhost")
    try:
        return (await reader.readexactly(9))[3] == 4  # a SETTINGS frame
    except (ssl.SSLError, asyncio.IncompleteReadError, ConnectionError):
        return False
    finally:
        writer.transport.abort()


async def test_with_automtls_nobody_gets_into_plugins_of_go_and_ours_but_the_host(
    run_go_host: RunGoHost, go_plugin: Path
) -> None:
    for command in ([go_plugin], list(OUR_PLUGIN)):
        async with asyncio.timeout(SECONDS), run_go_host(command, "-automtls", cwd=CHECKOUT) as host:
            assert not await _lets_a_stranger_in((await host.start()).address)
            await host.ping()


async def test_with_automtls_anybody_gets_into_plugins_of_pyvider(run_go_host: RunGoHost, pyvider: Pyvider) -> None:
    environment = pyvider.environment()
    async with asyncio.timeout(SECONDS), run_go_host(pyvider.plugin(), "-automtls", env=environment) as host:
        assert await _lets_a_stranger_in((await host.start()).address), f"no longer true: {matrix.UNVERIFIED}"


def test_each_limit_is_somebody_elses_and_applies_somewhere() -> None:
    cells = [(it, column) for it in COMBINATIONS for column in COLUMNS]
    met = [matrix.limit_of(*cell) for cell in cells]
    assert set(matrix.LIMITS) == {limit for limit in met if limit is not None}
    assert not any(limit for limit, (it, _) in zip(met, cells, strict=True) if {it.host, it.plugin} == {"ours"})


def test_the_page_has_the_table_that_is_tried() -> None:
    _, _, rest = matrix.PAGE.read_text("utf-8").partition(matrix.MARKERS[0])
    assert rest.partition(matrix.MARKERS[1])[0].strip() == matrix.table(), "run python -m tests.goplugin.matrix"

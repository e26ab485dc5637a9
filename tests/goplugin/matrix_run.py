"""Runs one combination of the matrix: a host, a plugin and a way to connect them, and all that the two can do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec

from tests.goplugin.go_host import GoHost, HostError, Started, go_host, is_running
from tests.goplugin.pyvider_install import Pyvider
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, WAYS, Way
from tests.support.waiting import until

__all__ = ["COLUMNS", "COMBINATIONS", "Combination", "Programs", "try_all"]

WHO = ("Go", "ours", "pyvider")
LARGE = 64 * 1024 * 1024
PATIENCE = 20.0
"""Seconds that something may take of which it is expected that it works."""
DOUBT = 2.0
"""Seconds that a plugin has to notice the death of its host, where it is not expected to."""
STDOUT, STDERR = b"hello\nworld!", b"\xff\x00"
COLUMNS = ("unary", "stream", "broker", "stdio", "64 MB", "kill", "host death")

Expected = Callable[[str], bool]
"""Whether what is in a column is expected to work. It only decides for how long something is waited for."""


class Combination(msgspec.Struct, frozen=True):
    """Who runs whose plugin, and how they are connected."""

    host: str
    plugin: str
    way: Way

    def __str__(self) -> str:
        return f"{self.host} host, {self.plugin} plugin, {self.way}"

    @property
    def has_pyvider(self) -> bool:
        """Whether it takes part."""
        return "pyvider" in (self.host, self.plugin)


COMBINATIONS = [Combination(host, plugin, way) for host in WHO for plugin in WHO for way in WAYS]


class Programs(msgspec.Struct, frozen=True):
    """What has to be made before."""

    go_host: Path
    go_plugin: Path
    static_tls: Sequence[str]
    """Flags for both sides."""
    pyvider: Pyvider | None = None
    """``None`` where it takes no part."""

    def command(self, combination: Combination) -> list[str | Path]:
        """Of a host with a plugin."""
        of_host, of_plugin = combination.way.flags(self.static_tls)
        if combination.plugin == "pyvider":
            assert self.pyvider is not None
            plugin = self.pyvider.plugin()
        elif combination.plugin == "Go":
            plugin = [self.go_plugin, "-max-message", str(LARGE + 100), *of_plugin]
        else:
            plugin = [*OUR_PLUGIN, *of_plugin]
        if combination.host == "pyvider":
            assert self.pyvider is not None
            return self.pyvider.host(plugin)
        if combination.host == "Go":
            return [self.go_host, *of_host, "--", *plugin]
        return [sys.executable, "-m", "tests.goplugin.our_host", *of_host, "--", *plugin]

    def environment(self, combination: Combination, *, patient: bool) -> Mapping[str, str]:
        """Of a host, and so of its plugin. pyvider has all its settings there."""
        if not combination.has_pyvider:
            return os.environ
        assert self.pyvider is not None
        settings: dict[str, str] = {}
        ca, certificate, key = (f"file://{path}" for path in self.static_tls[1::2])
        static = combination.way.tls == "static TLS"
        if static and combination.plugin == "pyvider":
            names = ("PLUGIN_SERVER_CERT", "PLUGIN_SERVER_KEY", "PLUGIN_CLIENT_ROOT_CERTS")
            settings |= dict(zip(names, (certificate, key, ca), strict=True))
        if combination.host == "pyvider":
            settings["PLUGIN_AUTO_MTLS"] = str(combination.way.tls == "AutoMTLS").lower()
            if static:
                settings |= {"PLUGIN_CLIENT_CERT": certificate, "PLUGIN_CLIENT_KEY": key}
            if combination.way.multiplexed:
                settings["PLUGIN_MULTIPLEX_GRPC"] = "true"
            if not patient:
                settings |= {"PLUGIN_CLIENT_RETRY_ENABLED": "false", "PLUGIN_CHANNEL_READY_TIMEOUT": "1"}
        return self.pyvider.environment(**settings)


async def try_all(programs: Programs, combination: Combination, expected: Expected) -> dict[str, str]:
    """What does not work, by column. One host and its plugin do all that they can, one after the other, while another
    host dies."""

    @asynccontextmanager
    async def run() -> AsyncIterator[tuple[GoHost, Started]]:
        environment = programs.environment(combination, patient=expected("unary"))
        async with go_host(programs.command(combination), env=environment, cwd=CHECKOUT) as host:
            started = await host.start()
            with _ended(started.pid):
                await host.ping()
                yield host, started

    async def live() -> dict[str, str]:
        async with run() as (host, started):
            return await _live(host, started, expected)

    async def die() -> dict[str, str]:
        async with run() as (host, started):
            failure = await _attempt(_host_death(host, started, PATIENCE if expected(COLUMNS[-1]) else DOUBT))
        return {} if failure is None else {COLUMNS[-1]: failure}

    parts = (live(), die()) if expected(COLUMNS[0]) else (live(),)
    found: dict[str, str] = {}
    for result in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(result, HostError):  # before anything could be tried
            return dict.fromkeys(COLUMNS, _words(result))
        if isinstance(result, BaseException):
            raise result
        found |= result
    return found


async def _live(host: GoHost, started: Started, expected: Expected) -> dict[str, str]:
    steps: dict[str, Awaitable[None]] = {
        "unary": _unary(host),
        "stream": _stream(host),
        "broker": _broker(host),
        "stdio": _print(host, wait=expected("stdio")),
        "64 MB": _big(host),
        "kill": _kill(host, started),
    }
    found = {name: failure for name, step in steps.items() if (failure := await _attempt(step)) is not None}
    if "stdio" not in found and (failure := await _attempt(_stdio(host))) is not None:
        found["stdio"] = failure  # nothing more can come
    return found


async def _attempt(step: Awaitable[None]) -> str | None:
    """What has failed."""
    try:
        async with asyncio.timeout(PATIENCE):
            await step
    except HostError as error:
        return _words(error)
    except AssertionError as error:
        return str(error)
    except TimeoutError:
        return f"not within {PATIENCE:g} s"
    return None


async def _unary(host: GoHost) -> None:
    await host.put("k", b"\x00v")
    value = await host.get("k")
    assert value == b"\x00v", f"another value: {value!r}"


async def _stream(host: GoHost) -> None:
    chunks = await host.stream(1000, 10)
    assert chunks == 1000, f"{chunks} chunks"


async def _broker(host: GoHost) -> None:
    """The plugin calls the host, and the host calls the plugin."""
    counted = await host.count("k", 3, times=3)
    assert (counted.value, counted.sums) == (9, 3), f"{counted}"
    doubled = await host.helper(4)
    assert doubled == 8, f"{doubled}"


async def _print(host: GoHost, *, wait: bool) -> None:
    await host.print(STDOUT, STDERR, times=10)
    if wait:
        await host.stdio(10 * len(STDOUT), 10 * len(STDERR))


async def _stdio(host: GoHost) -> None:
    stdio = await host.stdio()
    assert (stdio.stdout, stdio.stderr) == (10 * STDOUT, 10 * STDERR), (
        f"of {10 * len(STDOUT)} and {10 * len(STDERR)} bytes the host has got {stdio.stdout!r} and {stdio.stderr!r}"
    )


async def _big(host: GoHost) -> None:
    size = await host.big(LARGE)
    assert size == LARGE, f"{size} bytes"


async def _kill(host: GoHost, started: Started) -> None:
    """The plugin ends by itself, and takes its socket with it."""
    ending = await host.kill()
    assert (ending.exit_code, ending.forced) == (0, False), f"{ending}"
    assert not is_running(started.pid), "the plugin still runs"
    assert not _is_left(started), "the socket's file is left"


async def _host_death(host: GoHost, started: Started, seconds: float) -> None:
    """The plugin ends with a host that is killed."""
    await host.put("k", b"v")
    await host.die()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until(lambda: not is_running(started.pid))
    assert not is_running(started.pid), f"the plugin still runs after {seconds:g} s"


def _is_left(started: Started) -> bool:
    return started.network == "unix" and Path(started.address).exists()


@contextmanager
def _ended(pid: int) -> Iterator[None]:
    """The process outlives the context by no means."""
    process = os.pidfd_open(pid)  # its number may be another's by then
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


def _words(error: HostError) -> str:
    return f"{error.code}: {error}" if error.code else str(error)

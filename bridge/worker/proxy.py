"""A plugin used from plain Python: in its own interpreter and environment, without a server.

with WorkerProxy("ocr/plugin.toml") as ocr:
    text = ocr.execute("read", path="page.png")
    for line in ocr.stream("lines", path="page.png"):
        ...

async with WorkerProxy("ocr/plugin.toml") as ocr:
    text = await ocr.execute_async("read", path="page.png")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from bridge.blocking_variables import BlockingVariables
from bridge.call import Progress
from bridge.errors import BridgeError, Code
from bridge.host import Host
from bridge.manifest import Manifest, load_manifest, manifest_recipe, parse_manifest
from bridge.session_variables import SessionVariables
from bridge.tool import Tool
from bridge.worker.callers_loop import CallersLoop, Place, ThreadsLoop
from bridge.worker.frames import Settings
from bridge.worker.journal import Journal
from bridge.worker.memory import is_running
from bridge.worker.plugin_workers import PluginWorkers, Prepare
from bridge.worker.pool import PoolLimits
from bridge.worker.proxy_call import closed
from bridge.worker.proxy_caller import Caller
from bridge.worker.proxy_control import PluginControl
from bridge.worker.proxy_core import ProxyCore, ProxyStats
from bridge.worker.proxy_variables import BlockingProxyVariables

__all__ = ["ProxyStats", "WorkerProxy"]

GRACE = 1.0
"""Seconds that a cancelled call has, if its manifest does not say."""
QUEUE_SIZE = 100_000
"""Calls that may wait for a worker, if its manifest does not say: they are calls of this very program."""
MAX_MESSAGE_BYTES = 1024**3
"""Bytes of a message that memory is not shared for."""


class WorkerProxy(Caller, PluginControl):
    """Runs a plugin in processes of its own, and calls its tools.

    It is started in one of two ways, which decides how it is used:

    - ``with WorkerProxy(...)`` or ``start()``: all methods that block work, from any number of threads, and those whose
      names end with ``_async`` in any event loop.
    - ``async with WorkerProxy(...)`` or ``await start_async()``: on the event loop that runs there; what would block it
      is FAILED_PRECONDITION, reason ``WOULD_BLOCK``.

    One that was closed can be started again. Two of one manifest have nothing in common. It does not survive a fork:
    make another one in the child.

    Args:
        manifest: a manifest, the path of one, or what stands in one (paths in it begin at the current folder).
        config: what the plugin is configured with from the beginning, instead of what its manifest says.
        workers: worker processes, started when calls need them; by default as the manifest says, or one.
        host: what its tools may ask for variables and tools; the sessions of calls are this host's
            (``with_options(session_id=...)``).
        variables: give its tools variables without a host: they are in memory, one session for all calls, gone when the
            proxy is closed.
        drain: seconds that running calls have to end by themselves when it is closed.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``MANIFEST``, for a manifest that is wrong or others can change.
    """

    def __init__(
        self,
        manifest: Manifest | str | os.PathLike[str] | Mapping[str, Any],
        *,
        config: Mapping[str, Any] | None = None,
        workers: int | None = None,
        host: Host | None = None,
        variables: bool = False,
        drain: float = 2.0,
    ) -> None:
        self._state: tuple[ProxyCore, Place] | None = None
        self.manifest = _manifest(manifest)
        """What is run."""
        if config is not None:
            self.manifest = msgspec.structs.replace(self.manifest, config=dict(config))
        self._is_configured = config is not None
        self._workers, self._host, self._drain = workers, host, drain
        self._has_variables = variables

    def __repr__(self) -> str:
        return f"<WorkerProxy {self.manifest.name!r} {'running' if self._state else 'closed'}>"

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Starts it for code that blocks; returns when it takes calls.

        Raises ``BridgeError``: FAILED_PRECONDITION, reason ``WORKER_START_FAILED``, with the traceback of the plugin in
        ``details.debug``; DEADLINE_EXCEEDED, reason ``WORKER_START_TIMEOUT``; what its own initialisation raises.
        Nothing of it is left then.
        """
        core = self._make_core()
        place: Place = ThreadsLoop(f"bridge-proxy {self.manifest.name}", core.aclose)
        try:
            place.run(core.start())
        except BaseException:
            place.close()
            raise
        self._state = core, place
        return self

    async def start_async(self) -> Self:
        """Starts it on the event loop that runs here. Raises as ``start`` does."""
        core = self._make_core()
        place: Place = CallersLoop(core.aclose)
        await core.start()
        self._state = core, place
        return self

    def close(self) -> None:
        """Ends it: calls that run have ``drain`` seconds to end, then they are cancelled, and what is left is killed.
        Nothing of it is left. Repeating it is harmless."""
        if self._state is not None:
            _, place = self._state
            place.check()
            self._state = None
            place.close()

    async def close_async(self) -> None:
        """As ``close``."""
        if self._state is not None:
            _, place = self._state
            self._state = None
            await place.close_async()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close_async()

    def __del__(self) -> None:
        if (state := getattr(self, "_state", None)) is not None and not state[1].closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            state[1].abandon()

    # -- what is known about it ----------------------------------------------------------------------------------

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Its tools by name, with their schemas and options."""
        return self._running()[0].tools

    @property
    def is_alive(self) -> bool:
        """Whether it is started and one of its workers lives; the next call would start one. Usable everywhere."""
        return self._state is not None and any(map(is_running, self._state[0].pids))

    def stats(self) -> ProxyStats:
        """What it uses, and how its workers are."""
        return self._run(lambda core: core.stats())

    async def stats_async(self) -> ProxyStats:
        """See ``stats``."""
        return await self._await(lambda core: core.stats())

    def ping(self, timeout: float = 1.0) -> bool:
        """Whether there are workers, and all answer within so many seconds, also those that run a call."""
        return self._run(lambda core: core.answers(timeout))

    async def ping_async(self, timeout: float = 1.0) -> bool:
        """See ``ping``."""
        return await self._await(lambda core: core.answers(timeout))

    def cancel(self, call_id: str) -> bool:
        """Ends the call of this name (``with_options(call_id=...)``), and no other; its caller gets CANCELLED.

        Does not wait until it has ended. Usable everywhere. Returns whether there was one: it is harmless if it has
        ended already.
        """
        core, place = self._running()
        return place.do(lambda: core.calls.cancel(call_id))

    def progress(self, call_id: str) -> Progress | None:
        """The latest note of progress of a call that runs (``with_options(call_id=...)``). Usable everywhere."""
        return self._running()[0].calls.progress(call_id)

    def logs(self, lines: int = 100) -> list[str]:
        """The last lines that its workers have printed and logged. Usable everywhere."""
        return self._running()[0].journal.lines(lines)

    @property
    def variables(self) -> BlockingVariables:
        """The variables that its tools see, if it was made with ``variables=True``; blocking."""
        core, place = self._running()
        place.check()
        return BlockingProxyVariables(core.variables, place)

    @property
    def variables_async(self) -> SessionVariables:
        """The variables that its tools see, if it was made with ``variables=True``; for the event loop that it was
        started on."""
        return self._running()[0].variables

    # -- how it is made ------------------------------------------------------------------------------------------

    def _running(self) -> tuple[ProxyCore, Place]:
        if self._state is None:
            raise closed()
        return self._state

    def _make_core(self) -> ProxyCore:
        if self._state is not None:
            message = "the proxy runs already: close it before it is started again"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="RUNNING")
        manifest, limits = self.manifest, self.manifest.limits
        recipe = manifest_recipe(manifest, initialize=self._is_configured)
        grace = GRACE if limits.grace is None else limits.grace
        journal = Journal()
        pool_limits = PoolLimits(
            workers=self._workers or limits.workers or 1,
            queue_size=QUEUE_SIZE if limits.queue_size is None else limits.queue_size,
            max_calls=1 if manifest.isolation == "call" else limits.max_calls or 0,
            ttl=limits.ttl or 0.0,
            max_rss=limits.max_rss or 0,
            option="limits.workers of its manifest",
        )
        settings = Settings(debug=True, max_message_bytes=MAX_MESSAGE_BYTES)

        def make_workers(prepare: Prepare) -> PluginWorkers:
            return PluginWorkers(recipe, pool_limits, settings, grace, prepare, journal)

        return ProxyCore(
            make_workers,
            journal,
            self._host,
            has_variables=self._has_variables,
            timeout=limits.call_timeout,
            grace=grace,
            drain=self._drain,
        )


def _manifest(manifest: Manifest | str | os.PathLike[str] | Mapping[str, Any]) -> Manifest:
    if isinstance(manifest, Manifest):
        return manifest
    if isinstance(manifest, Mapping):
        return parse_manifest(manifest, Path.cwd() / "manifest")
    return load_manifest(manifest)

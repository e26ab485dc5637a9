"""A plugin that runs, on one event loop: its calls, its configuration, and what is known about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.call import Emit, ToolCall
from bridge.errors import BridgeError, Code, NoHostError
from bridge.host import Host, NoHost
from bridge.hosts.sessions import SessionHost
from bridge.runtime.hints import suggest
from bridge.tool import Tool
from bridge.tool_specs import read_tools
from bridge.worker.journal import Journal
from bridge.worker.plugin_workers import PluginWorkers, Prepare
from bridge.worker.process import Worker
from bridge.worker.proxy_call import CallOptions
from bridge.worker.proxy_calls import ProxyCalls
from bridge.worker.proxy_variables import ProxyVariables, memory_host
from bridge.worker.usage import UsageMeter

__all__ = ["ProxyCore", "ProxyStats"]

Config = Mapping[str, Any]

_NO_HOST = "the proxy has no host: give it one, WorkerProxy(..., host=...), or variables=True"

STOP_TIME = 2.0
"""Seconds beyond the grace of a call that its worker may take to end."""
ANSWER_TIME = 0.1
"""Seconds after which a worker that does not answer counts as unresponsive."""


class ProxyStats(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a plugin that runs."""

    state: str
    """``idle``, ``busy``; ``changing``: calls wait for a change; ``down``: there is no worker, the next call starts
    one."""
    pids: tuple[int, ...]
    """Its workers, the oldest first."""
    unresponsive: tuple[int, ...]
    """Those that do not answer, as a loop in native code holds their interpreter."""
    cpu_seconds: float
    """CPU time of all its processes, with those that have ended."""
    cpu_percent: float
    """CPU time since the look before, in percent of one core."""
    rss: int
    """Bytes of resident memory of all its processes; what they share counts for each."""
    calls: int
    """Calls of tools so far."""
    running: int
    """Calls that have begun and not ended, those that wait for a worker included."""
    restarts: int
    """Workers that were started because others had died."""


class ProxyCore:
    """Runs a plugin.

    Args:
        make_workers: makes its workers, which are prepared by what it is given.
        journal: what these write.
        host: what its tools ask for variables and tools.
        has_variables: it has a host of its own, with a session for all calls.
        timeout: seconds a call may take that says nothing else; ``None``: any.
        grace: seconds a cancelled call has to end before it is killed.
        drain: seconds that calls have to end at its end.
    """

    def __init__(
        self,
        make_workers: Callable[[Prepare], PluginWorkers],
        journal: Journal,
        host: Host | None,
        *,
        has_variables: bool,
        timeout: float | None,
        grace: float,
        drain: float,
    ) -> None:
        self._make_workers = make_workers
        self.journal = journal
        self._grace, self._drain = grace, drain
        self._own_host: SessionHost | None = None
        self._host: Host = host or NoHost(_NO_HOST)
        self._session_id = ""
        if has_variables:
            self._own_host, self._session_id = memory_host()
            self._host = self._own_host
        self._workers = make_workers(self._prepare)
        self.calls = ProxyCalls(self._run, timeout)
        self.tools: dict[str, Tool] = {}
        """By name; there when it was started."""
        self._config: Config | None = None
        """What workers are configured with after their start; ``None``: with nothing else than their manifest says."""
        self._meter = UsageMeter()
        self._restarts = 0
        """Of workers that were exchanged."""

    async def start(self) -> None:
        """Starts the first worker. Raises ``BridgeError`` if it cannot; nothing of it is left then."""
        if self._own_host is not None:
            await self._own_host.open()
        await self._start_workers()

    async def aclose(self) -> None:
        """Ends it: takes no more calls, gives those that run time to end, cancels them, and kills what is left."""
        try:
            await self.calls.aclose(self._drain, self._grace + STOP_TIME)
        finally:
            await self._workers.aclose()
            if self._own_host is not None:
                await self._own_host.aclose()

    @property
    def variables(self) -> ProxyVariables:
        """The variables of its own session. Raises FAILED_PRECONDITION, reason ``NO_HOST``, if it has none."""
        if self._own_host is None:
            raise NoHostError(_NO_HOST)
        return ProxyVariables(self._own_host, self._session_id)

    # -- calls ---------------------------------------------------------------------------------------------------

    async def call(self, name: str, arguments: dict[str, Any], options: CallOptions) -> Any:
        """Calls a tool and returns its result."""
        tool = self.tools.get(name) or self._find(name, "execute")
        if tool.streaming and not tool.options.collect:
            message = f"tool {tool.name!r} yields values: use stream or stream_async"
            raise BridgeError(Code.FAILED_PRECONDITION, message, reason="STREAMING_TOOL")
        return await self.calls.call(tool, self._request(tool.name, arguments, options), options)

    async def stream(self, name: str, arguments: dict[str, Any], options: CallOptions, emit: Emit) -> None:
        """Calls a tool and takes what it yields to ``emit``."""
        tool = self.tools.get(name) or self._find(name, "execute_stream", "execute")
        await self.calls.stream(tool, self._request(tool.name, arguments, options), options, emit)

    def _request(self, name: str, arguments: dict[str, Any], options: CallOptions) -> ToolCall:
        return ToolCall(name, arguments, self._host, options.session_id or self._session_id, options.metadata)

    def _find(self, name: str, *usual: str) -> Tool:
        """The tool that is meant by a name that is none, or by no name."""
        tools = self.tools
        if name:
            message = f"the plugin has no tool {name[:128]!r}; {suggest(name, tools)}"
            raise BridgeError(Code.NOT_FOUND, message, reason="TOOL_NOT_FOUND")
        for usual_name in usual:
            if usual_name in tools:
                return tools[usual_name]
        if len(tools) != 1:
            message = f"say which tool of the plugin: {suggest('', tools)}"
            raise BridgeError(Code.INVALID_ARGUMENT, message, reason="NO_TOOL_NAMED")
        return next(iter(tools.values()))

    def _run(self, request: ToolCall) -> Any:
        return self._workers.run(request)

    # -- the plugin as a whole -----------------------------------------------------------------------------------

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """Asks one worker something that changes nothing: ``config_schema``, ``current_config``, ``describe``."""
        return await self.calls.ask(self._operation(operation, arguments))

    async def configure(self, operation: str, config: Config, stall_timeout: float | None) -> None:
        """Has all workers, those of today and those to come, work with a configuration.

        If one of them refuses, those of today are ended and the next ones have the configuration of before.
        """
        async with self.calls.change():
            before, self._config = self._config, config
            try:
                if self._workers.all:
                    await self._ask_each(operation, {"config": config}, stall_timeout)
                else:
                    await self._start_another()
            except BaseException:
                self._config = before
                await self._end_all()
                raise

    async def ask_all(self, operation: str, stall_timeout: float | None) -> None:
        """Has all workers do something between calls: ``prefetch``, ``cleanup``."""
        async with self.calls.change():
            if not self._workers.all:
                await self._start_another()
            await self._ask_each(operation, {}, stall_timeout)

    async def restart(self) -> None:
        """Ends all workers when their calls have ended, and starts others with the code as it is now."""
        async with self.calls.change():
            before, self._workers = self._workers, self._make_workers(self._prepare)
            self._restarts += before.restarts
            await before.aclose()
            try:
                await self._start_workers()
            except BaseException:
                self._workers = self._make_workers(self._prepare)  # the next call starts one of these
                raise

    async def _start_workers(self) -> None:
        try:
            await self._workers.start()
            self.tools = {tool.name: tool for tool in read_tools(self._workers.tools)}
        except BaseException:
            await self._workers.aclose()
            raise

    async def _ask_each(self, operation: str, arguments: dict[str, Any], stall_timeout: float | None) -> None:
        async def ask(worker: Worker) -> None:
            request = self._operation(operation, arguments)
            await self.calls.watch(worker.run, request, stall_timeout=stall_timeout, in_change=True)

        outcomes = await asyncio.gather(*map(ask, self._workers.all), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _start_another(self) -> None:
        """Has a worker there, and so hears what it says to its configuration."""
        await self._workers.run(self._operation("current_config", {}))

    async def _end_all(self) -> None:
        if workers := self._workers.all:
            await asyncio.wait([worker.shut_down() for worker in workers])

    async def _prepare(self, worker: Worker) -> None:
        """Configures a worker that was started, as those before it were meanwhile."""
        config = None
        while self._config is not config and (config := self._config) is not None:
            await worker.run(self._operation("initialize", {"config": config}))
        worker.calls = 0

    def _operation(self, name: str, arguments: dict[str, Any]) -> ToolCall:
        return ToolCall(f"${name}", arguments, self._host)

    # -- what is known about it ----------------------------------------------------------------------------------

    @property
    def pids(self) -> tuple[int, ...]:
        """Its workers, the oldest first."""
        return tuple(worker.pid for worker in self._workers.all)

    async def answers(self, timeout: float) -> bool:
        """Whether there are workers, and all of them answer within so many seconds."""
        return bool(self.pids) and not await self._silent(timeout)

    async def _silent(self, timeout: float) -> list[int]:
        workers = self._workers.all
        answers = await asyncio.gather(*(worker.ping(timeout) for worker in workers))
        return [worker.pid for worker, answer in zip(workers, answers, strict=True) if not answer]

    async def stats(self) -> ProxyStats:
        """What is known about it."""
        unresponsive = await self._silent(ANSWER_TIME)
        usage = self._meter.look(self._workers.root or 0)
        pids, running = self.pids, self.calls.running
        return ProxyStats(
            state="changing" if self.calls.is_waiting else "busy" if running else "idle" if pids else "down",
            pids=pids,
            unresponsive=tuple(unresponsive),
            cpu_seconds=usage.cpu_seconds,
            cpu_percent=usage.cpu_percent,
            rss=usage.rss,
            calls=self.calls.made,
            running=running,
            restarts=self._restarts + self._workers.restarts,
        )

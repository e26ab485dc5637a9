"""The MCP server: which methods there are, and who hears of changes."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from typing import Any

import mcp_types as types
import msgspec
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

from bridge._version import __version__
from bridge.dispatcher import Dispatcher
from bridge.errors import BridgeError, Code
from bridge.host import Host
from bridge.mcp.callers import caller_of
from bridge.mcp.calls import Calls, Context
from bridge.mcp.catalog import Catalog
from bridge.mcp.failures import invalid_params
from bridge.mcp.large_results import LargeResults
from bridge.mcp.results import Results
from bridge.mcp.sessions import Sessions
from bridge.registry import Registry

__all__ = ["MAX_SESSIONS", "McpServer"]

MAX_SESSIONS = 1000
"""MCP sessions at one time, over HTTP."""


class _Sdk(Server[Any]):
    """The SDK's server, which says by itself only since revision 2026-07-28 that its list of tools may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class McpServer:
    """Answers what MCP clients ask; the transports are elsewhere.

    Args:
        dispatcher: runs the calls.
        host: what tools call back to.
        sessions: which session a call is in.
        large: where large results are kept.
        max_inline_bytes: size from which a result is large; 0: none is.
        max_message_bytes: most bytes of a result that is not.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        host: Host,
        sessions: Sessions,
        large: LargeResults,
        *,
        max_inline_bytes: int,
        max_message_bytes: int,
    ) -> None:
        self._catalog = Catalog(dispatcher.registry, links=max_inline_bytes > 0)
        self._large = large
        results = Results(large, max_inline_bytes, max_message_bytes)
        self.calls = Calls(dispatcher, host, self._catalog, results, sessions)
        """What ``tools/call`` does."""
        self._bus = InMemorySubscriptionBus()
        self.listening = ListenHandler(self._bus)
        """The streams of clients that listen for changes; to be closed at the end."""
        self._initialized: OrderedDict[str | None, ServerSession] = OrderedDict()
        """Clients of the revisions before 2026-07-28, by MCP session. Those that are gone are told in vain."""
        self._told = _fingerprint(self._catalog)
        self._telling: asyncio.Task[None] | None = None
        self.sdk = self._sdk(dispatcher.registry)
        """What transports run."""

    def _sdk(self, registry: Registry) -> Server[Any]:
        sdk = _Sdk(
            "tool-bridge",
            version=__version__,
            instructions=_instructions(registry),
            get_tool_input_schema=self._catalog.input_schema,
            on_list_tools=self._list_tools,
            on_call_tool=self.calls.call,
            on_list_resources=_no_resources,
            on_list_resource_templates=_no_templates,
            on_read_resource=self._read_resource,
            on_subscriptions_listen=self.listening,
        )
        sdk.middleware = []  # a call has its span already, where tools run
        sdk.add_notification_handler("notifications/initialized", types.NotificationParams, self._on_initialized)
        return sdk

    def on_reload(self) -> None:
        """Tells clients, if what ``tools/list`` says has changed since they were told."""
        fingerprint = _fingerprint(self._catalog)
        if fingerprint != self._told:
            self._told = fingerprint
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await self._bus.publish(ToolsListChanged())
        for session in tuple(self._initialized.values()):
            await session.send_tool_list_changed()

    async def _list_tools(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            message = "the list of tools has one page: leave the cursor out"
            raise invalid_params(BridgeError(Code.INVALID_ARGUMENT, message, reason="BAD_CURSOR"))
        return types.ListToolsResult(tools=self._catalog.tools)

    async def _read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        found = await self._large.read(params.uri, caller_of(ctx).principal)
        if found is None:
            message = "no such resource: only results that a call has linked to can be read, and not for ever"
            error = BridgeError(Code.NOT_FOUND, message, reason="RESOURCE_NOT_FOUND")
            raise invalid_params(error)
        return types.ReadResourceResult(contents=[found[0].contents(found[1])])

    async def _on_initialized(self, ctx: Context, params: types.NotificationParams) -> None:
        key = caller_of(ctx).session
        self._initialized[key] = ctx.session
        if len(self._initialized) > 2 * MAX_SESSIONS:
            self._initialized.popitem(last=False)


def _fingerprint(catalog: Catalog) -> bytes:
    return msgspec.json.encode([tool.model_dump(mode="json") for tool in catalog.tools])


def _instructions(registry: Registry) -> str | None:
    """What the adapters say about themselves, for models."""
    texts = [inspect.cleandoc(adapter.cls.__doc__) for adapter in registry.adapters if adapter.cls.__doc__]
    return "\n\n".join(texts) or None


async def _no_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    # Results that were linked to are for those who made the calls.
    return types.ListResourcesResult(resources=[])


async def _no_templates(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[])

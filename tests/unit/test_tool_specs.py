"""What a worker tells its server about tools, beyond what clients see."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import Adapter, BridgeError, Code, tool
from bridge.adapter import inspect_adapter
from bridge.runtime.calls import ToolSpec
from bridge.runtime.calls import pack_tools as runtime_pack_tools
from bridge.runtime.convert import Types
from bridge.runtime.signatures import inspect_tool
from bridge.runtime.tools import ToolOptions
from bridge.tool_specs import MAX_CONCURRENCY, pack_tools, read_tools, tool_specs


class Limited(Adapter):
    @tool(max_concurrency=3, metadata={"k": "v"})
    async def narrow(self) -> None: ...

    @tool
    async def wide(self) -> None: ...


TOOLS = inspect_adapter(Limited).tools.values()


def test_a_server_learns_how_many_calls_of_a_tool_there_may_be() -> None:
    found = {tool.name: tool.options for tool in read_tools(pack_tools(TOOLS), "process")}
    assert found["narrow"].max_concurrency == 3
    assert found["narrow"].metadata == {"k": "v"}
    assert found["wide"].max_concurrency is None


def test_it_learns_the_same_from_a_plugin() -> None:
    def narrow(self: Any) -> None: ...

    ours = inspect_tool(narrow, ToolOptions(max_concurrency=3, metadata={"k": "v"}), "Limited", Types())
    (found,) = read_tools(runtime_pack_tools([ours.spec]), "process")
    assert (found.options.max_concurrency, found.options.metadata) == (3, {"k": "v"})


def test_clients_are_not_told() -> None:
    assert [dict(spec.metadata) for spec in tool_specs(TOOLS)] == [{"k": "v"}, {}]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "9" * 5000, "\u0663"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BridgeError) as caught:
        read_tools(runtime_pack_tools([ToolSpec("a", metadata={MAX_CONCURRENCY: text}, input_schema="{}")]))
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "BAD_TOOL")
    assert len(caught.value.message) < 500

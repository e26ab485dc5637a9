"""What a plain gRPC servicer does with the bench's calls: the reference, and what peers serve.

Written as the author of a gRPC service would write it: generated stubs, messages in and out, nothing between.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from bench.stubs import bridge_pb2, bridge_pb2_grpc

__all__ = ["Echo"]


class Echo(bridge_pb2_grpc.BridgeServiceServicer):
    """Answers the bench's calls.

    Args:
        host: a stub of a HostService for calls that read variables.
    """

    def __init__(self, host: Any = None, host_messages: Any = None) -> None:
        self._host = host
        self._messages = host_messages
        self._tools = {"echo": self._echo, "blob": self._blob, "decode": self._decode}

    async def ExecuteTool(self, request: Any, context: Any) -> Any:
        if request.tool_name == "read":
            return await self._read(request)
        return self._tools[request.tool_name](request)

    async def ExecuteStreamingTool(self, request: Any, context: Any) -> AsyncIterator[Any]:
        data = bytes(_integer(request, "size"))
        for sequence in range(_integer(request, "count")):
            yield bridge_pb2.ToolChunk(data=data, sequence=sequence)
        yield bridge_pb2.ToolChunk(is_final=True, sequence=sequence + 1)

    def _echo(self, request: Any) -> Any:
        response = bridge_pb2.ExecuteToolResponse()
        response.result.CopyFrom(request.parameters["text"])
        return response

    def _blob(self, request: Any) -> Any:
        return bridge_pb2.ExecuteToolResponse(binary_result=request.binary_parameters["data"])

    def _decode(self, request: Any) -> Any:
        text = StringValue()
        request.parameters["text"].Unpack(text)
        answer = StringValue(value=json.dumps({"text": text.value, "top": _integer(request, "top")}))
        response = bridge_pb2.ExecuteToolResponse()
        response.result.Pack(answer)
        return response

    async def _read(self, request: Any) -> Any:
        total = 0
        for index in range(_integer(request, "count")):
            asked = self._messages.GetVariableRequest(session_id=request.session_id, name=f"v{index}")
            found = (await self._host.GetVariable(asked)).variable
            total += Int64Value.FromString(found.value.value).value
        response = bridge_pb2.ExecuteToolResponse()
        response.result.Pack(Int64Value(value=total))
        return response


def _integer(request: Any, name: str) -> int:
    number = Int64Value()
    request.parameters[name].Unpack(number)
    return number.value

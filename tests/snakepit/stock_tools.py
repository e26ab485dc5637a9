"""A decorator and a chunk that do what Snakepit's own do, for adapters that look as its users write them."""

from __future__ import annotations

from typing import Any


class ToolMetadata:
    def __init__(self, description: str, supports_streaming: bool, required_variables: list[str]) -> None:
        self.description = description
        self.supports_streaming = supports_streaming
        self.parameters: list[dict[str, Any]] = []
        self.required_variables = required_variables


def tool(description: str = "", supports_streaming: bool = False, required_variables: list[str] | None = None) -> Any:
    def mark(function: Any) -> Any:
        text = description or function.__doc__ or ""
        function._tool_metadata = ToolMetadata(text, supports_streaming, required_variables or [])
        return function

    return mark


class StreamChunk:
    def __init__(self, data: Any, is_final: bool = False, metadata: Any = None) -> None:
        self.data = data
        self.is_final = is_final
        if metadata is not None:
            self.metadata = metadata

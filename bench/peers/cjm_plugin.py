"""A plugin for the worker of cjm-plugin-system that answers the bench's calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cjm_plugin_system.core.interface import PluginInterface


class EchoPlugin(PluginInterface):  # type: ignore[misc]
    """Returns its arguments. One class has one ``execute``; the keys tell the calls apart."""

    @property
    def name(self) -> str:
        return "echo"

    @property
    def version(self) -> str:
        return "1"

    def initialize(self, config: dict[str, Any] | None = None) -> None:
        return

    def execute(self, **arguments: Any) -> Any:
        return arguments

    def execute_stream(self, count: int, size: int) -> Iterator[str]:
        text = "0" * size
        for _ in range(count):
            yield text

    def get_config_schema(self) -> dict[str, Any]:
        return {}

    def get_current_config(self) -> dict[str, Any]:
        return {}

    def cleanup(self) -> None:
        return

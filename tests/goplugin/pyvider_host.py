"""A host made with pyvider-rpcplugin that does what it reads from stdin, as host/main.go does: the steps that it can.

python -m tests.goplugin.pyvider_host PLUGIN [ARGUMENT...]
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from typing import Any

import grpc
from pyvider.rpcplugin import plugin_client  # type: ignore[import-not-found]
from pyvider.rpcplugin.client import handshake  # type: ignore[import-not-found]

from tests.goplugin.python_host import Arguments, PythonHost, obey

_parse = handshake.parse_handshake_response


class Log:
    """Takes the place of the log of pyvider's client, which is all that it does with what a plugin prints."""

    def __init__(self, log: Any) -> None:
        self._log, self.stdout, self.stderr = log, "", ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def is_debug_enabled(self) -> bool:
        """Else it would be dropped."""
        return True

    def debug(self, message: str, **fields: Any) -> None:
        """One entry."""
        stream, _, text = message.partition(": ")
        if stream == "Plugin stdout":
            self.stdout += text
        elif stream == "Plugin stderr":
            self.stderr += text


class Host(PythonHost):
    """One plugin, which the first step starts."""

    def __init__(self, command: list[str]) -> None:
        self._client = plugin_client(command=command)
        self._log = self._client.logger = Log(self._client.logger)
        self._process: Any = None
        self._starting: asyncio.Task[None] | None = None
        self._line = ""
        handshake.parse_handshake_response = self._parsed

    def _parsed(self, line: str) -> Any:
        self._line = line
        return _parse(line)

    async def _channel(self) -> grpc.aio.Channel:
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await self._starting
        return self._client.grpc_channel

    async def _start(self) -> None:
        await self._client.start()
        self._process = self._client._process.process  # there is no other way to its pid and exit code
        # It has no setting for multiplexing; the variable that plugins know comes from its environment.
        if os.environ.get("PLUGIN_MULTIPLEX_GRPC") and not self._line.endswith("|true"):
            await self._client.close()
            raise ValueError(f"the plugin was asked to multiplex, and does not: {self._line}")

    async def start(self, arguments: Arguments) -> Any:
        """Where it listens."""
        await self._channel()
        network, address, version = self._client._transport_name, self._client._address, self._client._protocol_version
        return {"network": network, "address": address, "version": version, "pid": self._process.pid}

    async def stdio(self, arguments: Arguments) -> Any:
        """What the log has of what the plugin has printed, when that is at least so much."""
        stdout, stderr = arguments["sizes"]
        while len(self._log.stdout) < stdout or len(self._log.stderr) < stderr:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
        return {name: base64.b64encode(getattr(self._log, name).encode()).decode() for name in ("stdout", "stderr")}

    async def kill(self, arguments: Arguments) -> Any:
        """As pyvider's context manager does at its end."""
        await self._channel()
        await self._client.shutdown_plugin()
        await self._client.close()
        code = self._process.poll()
        ended = {"exit_code": code if code is not None and code >= 0 else None, "exited": code is not None}
        return {**ended, "signal": -code if code is not None and code < 0 else None, "forced": code == -9}


if __name__ == "__main__":
    asyncio.run(obey(Host(sys.argv[1:])))

"""Results that are too large to be put before a model: files that a link leads to."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import OrderedDict
from pathlib import Path

import mcp_types as types
import msgspec

from bridge.errors import BridgeError, Code
from bridge.mcp.results_folder import ResultsFolder

__all__ = ["Kept", "LargeResults"]

_SCHEME = "tool-bridge://results/"


class Kept(msgspec.Struct, frozen=True):
    """A result in a file."""

    uri: str
    path: Path
    size: int
    """Bytes."""
    mime_type: str
    principal: str
    """Who may read it."""

    def contents(self, data: bytes) -> types.TextResourceContents | types.BlobResourceContents:
        """The result, as ``resources/read`` gives it."""
        if self.mime_type in ("application/json", "text/plain"):
            try:
                return types.TextResourceContents(uri=self.uri, mime_type=self.mime_type, text=data.decode())
            except UnicodeDecodeError:
                pass  # bytes that the tool says are text
        return types.BlobResourceContents(uri=self.uri, mime_type=self.mime_type, blob=base64.b64encode(data).decode())


class LargeResults:
    """Keeps results in a folder of this server's own until there is no room for them, or the server ends.

    Args:
        budget: bytes of all of them together; the oldest go first.
        local: whether clients are on this machine and of this user, and can open files: links then name the file.
    """

    def __init__(self, budget: int, *, local: bool) -> None:
        self._budget, self._local = budget, local
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._folder: ResultsFolder | None = None

    async def keep(self, data: bytes, mime_type: str, principal: str) -> Kept:
        """Writes a result down.

        Raises ``BridgeError`` RESOURCE_EXHAUSTED, reason ``RESULT_TOO_LARGE``, or reason ``RESULT_NOT_KEPT`` if it
        cannot be written.
        """
        if len(data) > self._budget:
            message = f"the result has {len(data)} bytes, and {self._budget} are kept for clients to fetch: return less"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="RESULT_TOO_LARGE")
        try:
            kept = self._register(data, mime_type, principal)
            await self._write(kept, data)
        except OSError as error:
            message = f"the result has {len(data)} bytes and cannot be kept for clients to fetch: {error.strerror}"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="RESULT_NOT_KEPT") from error
        return kept

    async def read(self, uri: str, principal: str) -> tuple[Kept, bytes] | None:
        """A result, if it is there and this principal's."""
        kept = self._kept.get(uri)
        if kept is None or kept.principal != principal:
            return None
        try:
            return kept, await asyncio.to_thread(kept.path.read_bytes)
        except FileNotFoundError:  # cleaned up by somebody else, or a moment ago by us
            return None

    def _register(self, data: bytes, mime_type: str, principal: str) -> Kept:
        """Makes room for a result. Raises ``OSError``."""
        if self._folder is None or not self._folder.is_there:
            self.close()
            self._folder = ResultsFolder()
        name = secrets.token_hex(16)
        path = self._folder.path / (name + _SUFFIXES.get(mime_type, ""))
        kept = Kept(path.as_uri() if self._local else _SCHEME + name, path, len(data), mime_type, principal)
        self._kept[kept.uri] = kept
        self._size += kept.size
        while self._size > self._budget:
            self._forget(next(iter(self._kept)))
        return kept

    async def _write(self, kept: Kept, data: bytes) -> None:
        try:
            await asyncio.to_thread(_write, kept.path, data)
        except OSError:
            if kept.uri in self._kept:
                self._forget(kept.uri)
            raise
        if kept.uri not in self._kept:  # others have taken its room meanwhile
            kept.path.unlink(missing_ok=True)

    def _forget(self, uri: str) -> None:
        kept = self._kept.pop(uri)
        self._size -= kept.size
        kept.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes all of them."""
        self._kept.clear()
        self._size = 0
        if self._folder is not None:
            self._folder.close()
            self._folder = None


_SUFFIXES = {
    "application/json": ".json",
    "text/plain": ".txt",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "audio/wav": ".wav",
}


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)

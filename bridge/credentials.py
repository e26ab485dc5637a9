"""Bearer tokens of a client: where they come from, and the channel that sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code

__all__ = ["AuthorizedChannel", "FileToken", "Token", "token_source"]

Token = str | Path | Callable[[], str]
"""The token itself, a file that holds it, or what gives it for each call."""

_MAX_TOKEN_BYTES = 8192
_MAX_FILE_BYTES = 1024 * 1024


def _bad_token(where: str, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{where}: {problem}", reason="BAD_TOKEN")


def _checked(token: object, where: str) -> str:
    # RFC 6750 has fewer characters; what must not get through is what would end or split a header.
    if not isinstance(token, str) or not token:
        raise _bad_token(where, "the token must be text and not empty")
    if len(token) > _MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise _bad_token(where, f"a token is at most {_MAX_TOKEN_BYTES} visible ASCII characters")
    return token


def _first_token(text: str) -> str:
    for raw in text.split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            return line.replace(":", " ", 1).split()[-1]
    return ""


class FileToken:
    """A token in a file, read again when the file changes, so that it can be rotated under a running client.

    Args:
        path: the file. Its first line that is neither empty nor a comment (``#``) holds the token, alone or after a
            name as in a server's token file (``name token`` or ``name:token``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        """The token as of now. Raises INVALID_ARGUMENT, reason ``BAD_TOKEN``, for a file that holds none."""
        try:
            about = self._path.stat()
            seen = (about.st_mtime_ns, about.st_size, about.st_ino)
            if seen != self._seen:
                with self._path.open(encoding="ascii") as file:
                    text = file.read(_MAX_FILE_BYTES)
                self._token = _checked(_first_token(text), f"token file {self._path}")
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            raise _bad_token(f"token file {self._path}", str(error)) from None
        return self._token


def token_source(token: Token) -> Callable[[], str]:
    """What gives the token for each call. A fixed token is checked here."""
    if isinstance(token, str):
        fixed = _checked(token, "token")
        return lambda: fixed
    if isinstance(token, Path):
        return FileToken(token)
    return lambda: _checked(token(), "token")


class AuthorizedChannel:
    """A ``Channel`` that sends ``authorization: Bearer ...`` with every call."""

    def __init__(self, channel: Channel, token: Token) -> None:
        self._channel = channel
        self._source = token_source(token)

    def __repr__(self) -> str:
        return f"<AuthorizedChannel {self._channel!r}>"

    def _headers(self, headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return (*headers, ("authorization", f"Bearer {self._source()}"))

    async def unary(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> bytes:
        return await self._channel.unary(path, request, headers=self._headers(headers), timeout=timeout)

    def stream(
        self, path: str, request: bytes, *, headers: Sequence[tuple[str, str]] = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._channel.stream(path, request, headers=self._headers(headers), timeout=timeout)

    async def ready(self) -> None:
        await self._channel.ready()

    async def aclose(self) -> None:
        await self._channel.aclose()

"""Why a session is over."""

from __future__ import annotations

from bridge.errors import BridgeError, Code

__all__ = ["SessionFailed", "gone_away", "peer_gave_up", "session_closed", "timed_out", "violation"]


class SessionFailed(BridgeError):
    """A session is over, with all of its streams.

    DATA_LOSS: the other side has broken the protocol, and was told so (reasons ``BAD_VERSION``, ``BAD_TYPE``,
    ``BAD_FLAGS``, ``BAD_STREAM_ID``, ``DUPLICATE_STREAM``, ``UNEXPECTED_FIN``, ``WINDOW_EXCEEDED``,
    ``WINDOW_OVERFLOW``), or RESOURCE_EXHAUSTED (``REPLY_FLOOD``). UNAVAILABLE: it says that we have, or has broken
    down (``PEER_PROTOCOL_ERROR``, ``PEER_INTERNAL_ERROR``), the connection is gone (``SESSION_CLOSED``), or it is
    silent (``KEEPALIVE_TIMEOUT``, ``STREAM_OPEN_TIMEOUT``).
    """


def violation(reason: str, problem: str, code: Code = Code.DATA_LOSS) -> SessionFailed:
    """The other side does not speak yamux as we do."""
    return SessionFailed(code, f"yamux: {problem}; check that both sides of the connection multiplex", reason=reason)


def peer_gave_up(code: int) -> SessionFailed:
    """A go-away that is not the normal one."""
    if code == 1:
        message = "yamux: the other side says that we broke the protocol; look into its log"
        return SessionFailed(Code.UNAVAILABLE, message, reason="PEER_PROTOCOL_ERROR")
    message = "yamux: the other side has broken down; look into its log, and connect again"
    return SessionFailed(Code.UNAVAILABLE, message, reason="PEER_INTERNAL_ERROR")


def timed_out(reason: str, problem: str) -> SessionFailed:
    """The other side does not answer."""
    return SessionFailed(
        Code.UNAVAILABLE, f"yamux: {problem}; check that it still runs, and connect again", reason=reason
    )


def session_closed() -> SessionFailed:
    """The connection is gone, or one of the sides has closed it."""
    return SessionFailed(Code.UNAVAILABLE, "yamux: the session is closed; connect again", reason="SESSION_CLOSED")


def gone_away() -> BridgeError:
    """The other side takes no more streams. The session goes on."""
    message = "yamux: the other side takes no more streams; connect again"
    return BridgeError(Code.UNAVAILABLE, message, reason="GONE_AWAY")

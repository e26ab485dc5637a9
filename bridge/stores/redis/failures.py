"""What goes wrong with a Redis server, in the words of the bridge: never a password, never a value."""

from __future__ import annotations

import logging
import re

from bridge.errors import BridgeError, Code, ErrorDetails

__all__ = ["NOT_BY_WAITING", "Refusal", "closed", "code_of", "lost", "refused", "unreachable"]

_log = logging.getLogger("bridge.stores")

_ANOTHER_USER = "it wants another user or password: correct the URL of the store, redis://[USER]:PASSWORD@HOST:PORT/DB"
_NO_CLUSTER = "it is part of a cluster: the store needs a server of its own"
_ADVICE = {
    "NOAUTH": _ANOTHER_USER,
    "WRONGPASS": _ANOTHER_USER,
    "NOPERM": "its user may not do what the store needs: `ACL LOG` on the server says what that was",
    "READONLY": "it is a replica and takes no writes: give the address of the primary",
    "MISCONF": "it cannot save its data and takes no writes: see its log",
    "NOREPLICAS": "it has fewer replicas than it needs to take writes",
    "LOADING": "it is still loading its data: try again",
    "BUSY": "it is busy with a script: try again",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": _NO_CLUSTER,
    "CROSSSLOT": _NO_CLUSTER,
    "MOVED": _NO_CLUSTER,
    "ASK": _NO_CLUSTER,
    "max number of clients": "it has as many clients as it may: raise its `maxclients`",
}
NOT_BY_WAITING = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "READONLY", "MOVED", "ASK", "CROSSSLOT"})
"""What Redis will say again until somebody changes a setting."""
_CODE = re.compile(rf"\b({'|'.join(_ADVICE)}|OOM)\b")
_CODE_OF_CLASS = {
    "AuthenticationError": "NOAUTH",
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "NoPermissionError": "NOPERM",
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "OutOfMemoryError": "OOM",
    "NoScriptError": "NOSCRIPT",
}
"""By redis-py's exception. The word at the beginning of an error becomes the class; that of an error within a script of
Redis 6 stands somewhere in the text."""


class Refusal(Exception):
    """Redis answered a command with an error; it did nothing."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.code = code_of(error)
        """What the error is called (``OOM``); empty if that is not known."""


def code_of(error: BaseException) -> str:
    """What Redis calls an error; empty: nothing known."""
    found = _CODE.search(str(error))
    code = _CODE_OF_CLASS.get(type(error).__name__) or (found[1] if found else "")
    # What Redis says while a connection is made comes wrapped in the failure to make it.
    cause = error.__cause__ or error.__context__
    return code or (code_of(cause) if cause is not None else "")


def unreachable(shown: str, error: BaseException) -> BridgeError:
    """There is no connection, so nothing was sent."""
    if code_of(error):
        return refused(shown, Refusal(error))
    what = "does not answer" if isinstance(error, TimeoutError) else "cannot be reached"
    return _unavailable(f"Redis at {shown} {what}: start it, or correct the URL of the store", repeatable=True)


def lost(shown: str, error: BaseException | None) -> BridgeError:
    """The connection ended before the answer: what was asked may have been done or not."""
    what = "did not answer in time" if isinstance(error, TimeoutError) else "went away before it answered"
    message = f"Redis at {shown} {what}, so whether it did what was asked is unknown: read, then decide what to repeat"
    return _unavailable(message, repeatable=False)


def refused(shown: str, refusal: Refusal) -> BridgeError:
    """It answered with an error, and did nothing."""
    advice = _ADVICE.get(refusal.code)
    if advice is None:
        # An error of this kind says where a script stopped, or what a server does not know; values are not in it.
        _log.error("Redis at %s refused a command: %s", shown, str(refusal)[:300])
        advice = "the log of the bridge says why; does another program write to its keys?"
    message = f"Redis at {shown} refused a command: {advice}"
    return _unavailable(message, repeatable=True, redis_error=refusal.code)


def closed() -> BridgeError:
    """Nothing can be asked of a store that is not open."""
    return _unavailable("the store is closed: open it", repeatable=False)


def _unavailable(message: str, *, repeatable: bool, **facts: str) -> BridgeError:
    # To say when to try again is to say that nothing was done; clients then repeat the call by themselves.
    details = ErrorDetails(retry_after=1.0 if repeatable else None, metadata=facts)
    return BridgeError(Code.UNAVAILABLE, message, reason="STORE_UNAVAILABLE", details=details)

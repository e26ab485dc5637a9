"""What can go wrong between two brokers. Where Go has a text for it, the message has that in it."""

from __future__ import annotations

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = [
    "broker_closed",
    "check_id",
    "knock_refused",
    "no_address",
    "no_answer",
    "no_connection",
    "no_knock_answer",
    "used_twice",
    "wrong_answer",
]

MAX_ID = 2**32 - 1


def check_id(service_id: object) -> None:
    """Raises ``BridgeError`` INVALID_ARGUMENT for what ``next_id`` of neither side can have given."""
    if not isinstance(service_id, int) or isinstance(service_id, bool) or not 1 <= service_id <= MAX_ID:
        raise invalid_argument(
            "service_id", f"has to be from 1 to {MAX_ID}; take it from next_id()", reason="BROKER_ID"
        )


def used_twice(service_id: int) -> BridgeError:
    """Two at a time want to dial one id, or to accept by it."""
    message = f"service id {service_id} is in use; take a fresh one from next_id() for each service"
    return BridgeError(Code.ALREADY_EXISTS, message, reason="BROKER_ID_IN_USE")


def broker_closed() -> BridgeError:
    """This side has closed, or the other side is gone."""
    message = "broker closed: the connection between host and plugin has ended; start the plugin again, or reattach"
    return BridgeError(Code.UNAVAILABLE, message, reason="BROKER_CLOSED")


def no_connection() -> BridgeError:
    """The other side's broker has not connected in time."""
    message = "the broker of the other side has not connected; call this from a handler, when host and plugin talk"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="BROKER_TIMEOUT")


def no_address(service_id: int) -> BridgeError:
    """The other side has not said in time where a service answers."""
    message = (
        f"timeout waiting for connection info of service id {service_id}; "
        "let the other side accept that id before, and dial each id once"
    )
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="BROKER_TIMEOUT")


def no_answer(service_id: int) -> BridgeError:
    """Nobody answers where the other side has said."""
    message = f"no connection to service id {service_id} where the other side has offered it; check that it is served"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="BROKER_TIMEOUT")


def no_knock_answer(service_id: int) -> BridgeError:
    """A knock is not answered in time."""
    message = (
        f"timeout waiting for multiplexing knock handshake on id {service_id}; "
        "let the other side accept that id, and check that it multiplexes"
    )
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="KNOCK_TIMEOUT")


def knock_refused(service_id: int, error: str) -> BridgeError:
    """A knock is answered with an error."""
    message = f"failed to knock for id {service_id}: {error[:300]}; let the other side accept that id"
    return BridgeError(Code.UNAVAILABLE, message, reason="KNOCK_REFUSED")


def wrong_answer(service_id: int) -> BridgeError:
    """A knock is answered with something else."""
    message = (
        f"handshake failed for multiplexing on id {service_id}; expected knock and ack: "
        "check that the other side multiplexes"
    )
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="KNOCK_ANSWER")

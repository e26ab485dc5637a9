"""What two brokers say to each other in the streams of ``plugin.GRPCBroker/StartStream``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from bridge.goplugin import messages

__all__ = ["START_STREAM", "ConnInfo", "Knock"]

START_STREAM = "/plugin.GRPCBroker/StartStream"


class Knock(msgspec.Struct, frozen=True):
    """On a multiplexed connection: the next stream is for a service, and the answer whether it may come."""

    knock: bool = True
    """Always true, in the answer as well."""
    ack: bool = False
    """Whether this is the answer."""
    error: str = ""
    """Of an answer: why the stream must not come; empty: it may."""


class ConnInfo(msgspec.Struct, frozen=True):
    """Where a service answers, or a knock, or the answer to one."""

    service_id: int
    network: str = ""
    """``unix`` or ``tcp``; empty in a knock."""
    address: str = ""
    """A path, or ``host:port``."""
    knock: Knock | None = None

    @property
    def is_knock(self) -> bool:
        """Whether this asks; anything else is the answer to a question, as in Go's broker."""
        return self.knock is not None and self.knock.knock and not self.knock.ack

    @property
    def is_welcome(self) -> bool:
        """Whether this is the answer that a stream may come."""
        return self.knock is not None and self.knock.knock and self.knock.ack and not self.knock.error

    def encode(self) -> bytes:
        """The message of the wire."""
        from bridge.goplugin import messages

        message = messages.ConnInfo(service_id=self.service_id, network=self.network, address=self.address)
        if self.knock is not None:
            message.knock.knock, message.knock.ack = self.knock.knock, self.knock.ack
            message.knock.error = self.knock.error
        return message.SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> ConnInfo:
        """Reads the message of the wire. Raises ``BridgeError`` INVALID_ARGUMENT ``BROKER_MESSAGE``."""
        from google.protobuf.message import DecodeError

        from bridge.goplugin import messages

        try:
            message = messages.ConnInfo.FromString(data)
        except DecodeError:
            text = "the other side's broker sends what is no plugin.ConnInfo; check that it speaks go-plugin's protocol"
            raise BridgeError(Code.INVALID_ARGUMENT, text, reason="BROKER_MESSAGE") from None
        knock = _read_knock(message.knock) if message.HasField("knock") else None
        return cls(message.service_id, message.network, message.address, knock)


def _read_knock(knock: messages.ConnInfo.Knock) -> Knock:
    return Knock(knock.knock, knock.ack, knock.error)

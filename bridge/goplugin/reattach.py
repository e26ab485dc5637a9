"""What a host needs to connect to a plugin that runs already."""

from __future__ import annotations

import msgspec

from bridge.errors import invalid_argument

__all__ = ["ReattachConfig"]


class _Address(msgspec.Struct, frozen=True):
    Network: str
    String: str


class _Wire(msgspec.Struct, frozen=True):
    """As Terraform writes it into ``TF_REATTACH_PROVIDERS`` (terraform-plugin-go, tf6server/server.go)."""

    Protocol: str
    ProtocolVersion: int
    Pid: int
    Test: bool
    Addr: _Address


class ReattachConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plugin answers, and what it is (``ReattachConfig`` of go-plugin). Plugins with AutoMTLS cannot be
    reattached: who has not started them does not have the key."""

    network: str
    """``unix`` or ``tcp``."""
    address: str
    """Path of the socket, or ``host:port``."""
    protocol_version: int
    """Of the application, as it was negotiated or as the plugin serves it."""
    pid: int
    """The plugin's process."""
    test: bool = False
    """Whether it was started for tests and debuggers: a host then never ends it."""
    protocol: str = "grpc"

    def to_json(self) -> str:
        """The JSON object that go-plugin's hosts take, in one line."""
        wire = _Wire(self.protocol, self.protocol_version, self.pid, self.test, _Address(self.network, self.address))
        return msgspec.json.encode(wire).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> ReattachConfig:
        """Reads what ``to_json``, or a plugin in Go, has written. Raises ``BridgeError`` INVALID_ARGUMENT."""
        try:
            wire = msgspec.json.decode(text, type=_Wire)
        except (msgspec.DecodeError, UnicodeError) as error:
            message = f"is not the JSON of a reattachable plugin: {error}"
            raise invalid_argument("reattach", message, reason="REATTACH") from None
        return cls(
            network=wire.Addr.Network,
            address=wire.Addr.String,
            protocol_version=wire.ProtocolVersion,
            pid=wire.Pid,
            test=wire.Test,
            protocol=wire.Protocol,
        )

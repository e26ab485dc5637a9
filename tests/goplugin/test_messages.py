"""The messages of go-plugin's own services."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from bridge.goplugin import messages


def test_names_and_numbers_are_those_of_go_plugin() -> None:
    services = {
        f"/{service.full_name}/{method.name}": (method.input_type.full_name, method.output_type.full_name)
        for service in messages.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert services == {
        "/plugin.GRPCController/Shutdown": ("plugin.Empty", "plugin.Empty"),
        "/plugin.GRPCStdio/StreamStdio": ("google.protobuf.Empty", "plugin.StdioData"),
        "/plugin.GRPCBroker/StartStream": ("plugin.ConnInfo", "plugin.ConnInfo"),
    }


def test_messages_are_the_bytes_that_go_writes() -> None:
    info = messages.ConnInfo(
        service_id=3, network="unix", address="/s", knock=messages.ConnInfo.Knock(knock=True, ack=True, error="no")
    )
    assert info.SerializeToString() == b"\x08\x03\x12\x04unix\x1a\x02/s\x22\x08\x08\x01\x10\x01\x1a\x02no"
    data = messages.StdioData(channel=messages.StdioData.STDERR, data=b"x")
    assert data.SerializeToString() == b"\x08\x02\x12\x01x"
    assert messages.StdioData.Channel.items() == [("INVALID", 0), ("STDOUT", 1), ("STDERR", 2)]


def test_the_names_stay_free_in_protobuf_s_default_pool() -> None:
    assert messages.DESCRIPTOR.pool.FindServiceByName("plugin.GRPCStdio")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("plugin.ConnInfo")

"""The variables that a plugin is started with."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.handshake import HandshakeConfig
from bridge.goplugin.process.launch_environment import launch_environment

HANDSHAKE = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")
AS_A_PLUGIN = {
    "PATH": "/bin",
    "PLUGIN_PROTOCOL_VERSIONS": "9",
    "PLUGIN_CLIENT_CERT": "the one of our host",
    "PLUGIN_MULTIPLEX_GRPC": "true",
    "PLUGIN_UNIX_SOCKET_DIR": "/of/our/host",
    "PLUGIN_GRACE": "3",
}


def environment(**options: Any) -> dict[str, str]:
    """For a host that speaks two versions."""
    return launch_environment(HANDSHAKE, [4, 3], **options)


def test_least_that_a_plugin_is_told() -> None:
    assert environment(skip_host_env=True, host_env={"PATH": "/bin"}) == {
        "BASIC_PLUGIN": "hello",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_PROTOCOL_VERSIONS": "3,4",
    }


def test_all_that_a_plugin_can_be_told() -> None:
    told = environment(
        skip_host_env=True,
        extra={"OWN": "x"},
        min_port=1,
        max_port=2,
        client_certificate=b"-----BEGIN\nCERTIFICATE\n",
        multiplex=True,
        socket_dir="/run/x",
        socket_group=1000,
    )
    assert (told["PLUGIN_MIN_PORT"], told["PLUGIN_MAX_PORT"]) == ("1", "2")
    assert told["PLUGIN_CLIENT_CERT"] == "-----BEGIN\nCERTIFICATE\n"
    assert told["PLUGIN_MULTIPLEX_GRPC"] == "true"
    assert told["PLUGIN_UNIX_SOCKET_DIR"] == "/run/x"
    assert told["PLUGIN_UNIX_SOCKET_GROUP"] == "1000"
    assert told["OWN"] == "x"


def test_hosts_variables_are_inherited_unless_something_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "from the host")
    monkeypatch.setenv("CHANGED", "from the host")
    monkeypatch.setenv("BASIC_PLUGIN", "from the host")
    told = environment(extra={"CHANGED": "for the plugin", "PLUGIN_MIN_PORT": "7"})
    assert told["INHERITED"] == "from the host"
    assert told["CHANGED"] == "for the plugin"
    assert told["BASIC_PLUGIN"] == "hello"
    assert told["PLUGIN_MIN_PORT"] == "10000"


def test_host_that_is_a_plugin_does_not_hand_on_what_it_was_told() -> None:
    told = environment(host_env=AS_A_PLUGIN)
    assert set(told) == {"PATH", "BASIC_PLUGIN", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS"}
    assert told["PLUGIN_PROTOCOL_VERSIONS"] == "3,4"


def test_host_that_is_none_hands_on_what_was_set_for_plugins_but_no_promise() -> None:
    inherited = {name: value for name, value in AS_A_PLUGIN.items() if name != "PLUGIN_PROTOCOL_VERSIONS"}
    told = environment(host_env=inherited)
    assert told["PLUGIN_GRACE"] == "3"
    assert told["PLUGIN_UNIX_SOCKET_DIR"] == "/of/our/host"
    assert "PLUGIN_CLIENT_CERT" not in told
    assert "PLUGIN_MULTIPLEX_GRPC" not in told


@pytest.mark.parametrize(
    "options",
    [
        {"min_port": 5, "max_port": 4},
        {"min_port": -1},
        {"max_port": 65536},
        {"extra": {"": "x"}},
        {"extra": {"A=B": "x"}},
        {"extra": {"A": "secret\0"}},
        {"socket_dir": "a\0"},
    ],
)
def test_what_no_environment_can_hold_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BridgeError) as caught:
        environment(**options)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert "secret" not in caught.value.message

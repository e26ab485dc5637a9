"""What a worker understands of its command line and its environment."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.snakepit_worker.addresses import addresses
from bridge.snakepit_worker.arguments import WorkerOptions, read_options
from bridge.snakepit_worker.heartbeat_options import HeartbeatOptions
from bridge.snakepit_worker.settings import limit_threads, server_config

ADAPTER = ["--adapter", "pkg.mod.Class"]


def options(*arguments: str, **environ: str) -> WorkerOptions:
    return read_options([*ADAPTER, *arguments], environ)


def test_command_line_of_the_pool_is_understood() -> None:
    found = options(
        *("--port", "0", "--elixir-address", "127.0.0.1:4711", "--snakepit-run-id", "k3x9z1a"),
        *("--snakepit-instance-name", "dev_app_nonode", "--snakepit-instance-token", "t"),
        SNAKEPIT_PROCESS_GROUP="1",
        SNAKEPIT_READY_FILE="/tmp/ready",
        SNAKEPIT_LOG_LEVEL="info",
    )
    assert found == WorkerOptions(
        adapter="pkg.mod.Class",
        elixir_address="127.0.0.1:4711",
        ready_file=Path("/tmp/ready"),
        lead_group=True,
        log_level="info",
    )


def test_command_line_of_the_threaded_profile_is_understood() -> None:
    found = options("--max-workers", "16", "--thread-safety-check", "--run-id", "x")
    assert found.settings == {"workers": 16}
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ""),
        ({"SNAKEPIT_ELIXIR_ADDRESS": "b:2"}, "b:2"),
        ({"SNAKEPIT_ELIXIR_ADDRESS": "b:2", "SNAKEPIT_GRPC_ADDRESS": "a:1"}, "a:1"),
    ],
)
def test_address_of_the_beam_is_looked_for_in_the_environment(environ: dict[str, str], address: str) -> None:
    assert options(**environ).elixir_address == address
    assert options("--elixir-address", "c:3", **environ).elixir_address == "c:3"


@pytest.mark.parametrize(
    ("text", "is_wanted"), [("1", True), ("TRUE", True), ("yes", True), ("on", True), ("0", False), ("", False)]
)
def test_process_group_is_wanted_or_not(text: str, is_wanted: bool) -> None:
    assert options(SNAKEPIT_PROCESS_GROUP=text).lead_group is is_wanted


@pytest.mark.parametrize(("text", "level"), [("DEBUG", "debug"), ("none", "none"), ("loud", "error"), ("", "error")])
def test_log_level_that_nobody_knows_is_error(text: str, level: str) -> None:
    assert options(SNAKEPIT_LOG_LEVEL=text).log_level == level


def test_flags_that_nobody_knows_are_told_without_their_values() -> None:
    assert options("--later", "secret", "-x", "--more=secret", "stray").ignored == ("--later", "-x", "--more")


def test_beginning_of_a_flag_is_not_that_flag() -> None:
    assert options("--po", "1").port == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--port", "8" * 5000),
        ("--results", "other"),
        ("--max-workers", "0"),
        ("--heartbeat-interval-ms", "soon"),
    ],
)
def test_wrong_values_of_flags_are_refused_without_being_shown(arguments: tuple[str, str]) -> None:
    with pytest.raises(BridgeError) as caught:
        options(*arguments)
    assert caught.value.reason == "USAGE"
    assert arguments[0] in caught.value.message
    assert "8888" not in caught.value.message


# -- heartbeats --------------------------------------------------------------------------------------------------


def beats(*arguments: str, text: str = "") -> HeartbeatOptions:
    return options(*arguments, SNAKEPIT_HEARTBEAT_CONFIG=text).heartbeat


def test_heartbeats_are_sent_as_the_pool_does_by_default() -> None:
    assert beats() == HeartbeatOptions(True, 2.0, 10.0, 3, 0.0, 0.0, True)


def test_flags_of_heartbeats_are_understood() -> None:
    found = beats(
        *("--heartbeat-enabled", "--heartbeat-interval-ms", "500", "--heartbeat-timeout-ms", "700"),
        *("--heartbeat-max-missed", "2", "--heartbeat-initial-delay-ms", "10", "--heartbeat-independent"),
    )
    assert found == HeartbeatOptions(True, 0.5, 0.7, 2, 0.01, 0.0, False)


def test_heartbeat_of_the_environment_wins_over_flags() -> None:
    text = '{"enabled": false, "interval_ms": 100, "jitter_ms": 5, "maxMissedHeartbeats": 7, "of_tomorrow": 1}'
    found = beats("--heartbeat-interval-ms", "500", "--heartbeat-timeout-ms", "700", text=text)
    assert found == HeartbeatOptions(False, 0.1, 0.7, 7, 0.0, 0.005, True)


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', "[" * 100_000])
def test_heartbeat_settings_that_are_no_object_are_ignored(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert beats(text=text) == HeartbeatOptions()
    assert "SNAKEPIT_HEARTBEAT_CONFIG is no JSON object" in caplog.text


@pytest.mark.parametrize("value", ['"soon"', "null", "-1", "1e999", "NaN", "[]", "{}"])
def test_heartbeat_setting_that_makes_no_sense_is_left_out(value: str) -> None:
    assert beats(text=f'{{"interval_ms": {value}, "max_missed_heartbeats": {value}}}') == HeartbeatOptions()


def test_heartbeat_never_beats_without_a_pause() -> None:
    found = beats(text='{"interval_ms": 0, "timeout_ms": 0, "max_missed_heartbeats": 0}')
    assert (found.interval, found.timeout, found.max_missed) == (0.001, 0.001, 1)


# -- the server's configuration ----------------------------------------------------------------------------------


def test_worker_has_the_defaults_that_a_pool_expects() -> None:
    config = server_config(options(), {})
    assert config.adapters == ("pkg.mod.Class",)
    assert (config.snakepit, config.isolation, config.workers) == (True, "plain-process", 1)
    assert (config.grace, config.default_timeout, config.max_timeout) == (2.0, 7 * 86400, 7 * 86400)
    assert config.max_message_bytes == 100 * 1024 * 1024
    assert (config.log_level, config.snakepit_results) == ("error", "exact")


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (("--isolation", "auto"), "isolation", "plain-process"),
        (("--isolation", "inline"), "isolation", "inline"),
        (("--results", "stock"), "snakepit_results", "stock"),
        (("--max-workers", "4"), "workers", 4),
        (("--host", "127.0.0.1:50052"), "host", "127.0.0.1:50052"),
        (("--debug",), "debug", True),
        (("--redact-errors",), "redact_errors", True),
    ],
)
def test_own_flags_are_settings(arguments: tuple[str, ...], key: str, value: Any) -> None:
    assert getattr(server_config(options(*arguments), {}), key) == value


def test_environment_and_file_win_over_the_defaults_of_a_worker_and_flags_over_both(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[server]\ngrace = 4.0\nworkers = 5\n")
    environ = {"BRIDGE_CONFIG": str(file), "BRIDGE_WORKERS": "6", "BRIDGE_LOG_LEVEL": "debug"}
    config = server_config(options("--isolation", "thread", SNAKEPIT_LOG_LEVEL="info"), environ)
    assert (config.grace, config.workers, config.log_level, config.isolation) == (4.0, 6, "debug", "thread")


def test_ready_file_of_bridge_serve_is_not_the_pools() -> None:
    assert (
        server_config(options(), {"BRIDGE_READY_FILE": "/tmp/json", "BRIDGE_WRITE_CLIENT": "/tmp/c"}).ready_file is None
    )


def test_worker_without_an_adapter_is_refused() -> None:
    with pytest.raises(BridgeError, match="--adapter") as caught:
        server_config(read_options([], {}), {})
    assert caught.value.reason == "USAGE"


def test_threads_of_libraries_are_limited_where_nobody_has_said_otherwise() -> None:
    environ = {"OMP_NUM_THREADS": "8"}
    limit_threads(environ)
    assert environ["OMP_NUM_THREADS"] == "8"
    assert environ["OPENBLAS_NUM_THREADS"] == environ["MKL_NUM_THREADS"] == "1"


# -- addresses ---------------------------------------------------------------------------------------------------


def test_one_free_port_is_found_for_both_addresses() -> None:
    first, second = addresses(0)
    port = first.removeprefix("127.0.0.1:")
    assert second == f"[::1]:{port}"
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            probe.bind((host, int(port)))


def test_port_that_was_asked_for_is_taken_as_it_is() -> None:
    assert addresses(4711) == ("127.0.0.1:4711", "[::1]:4711")


def test_machine_without_ipv6_has_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "AF_INET6", 9999)  # a family that the kernel does not have
    (only,) = addresses(0)
    assert only.startswith("127.0.0.1:")

"""What a server can be told, and where each value came from."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import SETTINGS, ServerConfig, Settled, markdown, settle
from bridge.errors import BridgeError, Code
from bridge.settings import Setting

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(**arguments: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        settle(**arguments)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.reason == "CONFIG"
    return caught.value


def sources(settled: Settled) -> dict[str, str]:
    return {key: str(source) for key, source in settled.provenance.items() if source.kind != "default"}


# Where values come from


def test_the_defaults_are_a_config(tmp_path: Path) -> None:
    settled = settle()
    assert settled.config == ServerConfig()
    assert settled.config.listen == ("127.0.0.1:50051",)
    assert sources(settled) == {}
    assert set(settled.provenance) == {setting.key for setting in SETTINGS}


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, "[server]\nthreads = 2\ngrace = 2\nqueue_size = 2\nmax_sessions = 2\n")
    environ = {"BRIDGE_THREADS": "3", "BRIDGE_GRACE": "3", "BRIDGE_MAX_VARIABLES": "3", "HOME": "/root"}
    settled = settle(file, environ, {"threads": 4, "max_concurrent_calls": 4, "queue_size": None, "adapters": []})
    config = settled.config
    assert (config.threads, config.grace, config.queue_size, config.max_sessions) == (4, 3.0, 2, 2)
    assert (config.max_variables, config.max_concurrent_calls) == (3, 4)
    assert sources(settled) == {
        "threads": "--threads",
        "grace": "BRIDGE_GRACE",
        "queue_size": str(file),
        "max_sessions": str(file),
        "max_variables": "BRIDGE_MAX_VARIABLES",
        "max_concurrent_calls": "--max-concurrent-calls",
    }


def test_every_type_can_come_from_every_source(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        '[server]\nadapters = ["a:A", "b:B"]\nlisten = "[::1]:1"\nhost = "h:1"\nready_file = "ready"\n'
        "insecure = true\ngrace = 2.5\nthreads = 3\nisolation = 'inline'\nlog_level = 'DEBUG'\n",
    )
    environ = {
        "BRIDGE_ADAPTERS": "a:A, b:B,",
        "BRIDGE_LISTEN": "[::1]:1",
        "BRIDGE_HOST": "h:1",
        "BRIDGE_READY_FILE": str(tmp_path / "ready"),
        "BRIDGE_INSECURE": "True",
        "BRIDGE_GRACE": "2.5",
        "BRIDGE_THREADS": "3",
        "BRIDGE_ISOLATION": "inline",
        "BRIDGE_LOG_LEVEL": "DEBUG",
    }
    flags = {
        "adapters": ["a:A", "b:B"],
        "listen": ("[::1]:1",),
        "host": "h:1",
        "ready_file": tmp_path / "ready",
        "insecure": True,
        "grace": 2.5,
        "threads": 3,
        "isolation": "inline",
        "log_level": "debug",
    }
    expected = ServerConfig(
        adapters=("a:A", "b:B"),
        listen=("[::1]:1",),
        host="h:1",
        ready_file=tmp_path / "ready",
        insecure=True,
        grace=2.5,
        threads=3,
        isolation="inline",
        log_level="debug",
    )
    assert settle(file).config == expected
    assert settle(environ=environ).config == expected
    assert settle(flags=flags).config == expected


def test_a_file_is_named_by_flag_by_environment_or_lies_in_the_folder(tmp_path: Path) -> None:
    for name, threads in (("flag.toml", 1), ("environment.toml", 2), ("bridge.toml", 3)):
        (tmp_path / name).write_text(f"[server]\nthreads = {threads}\n")
    environ = {"BRIDGE_CONFIG": str(tmp_path / "environment.toml")}
    assert settle(tmp_path / "flag.toml", environ).config.threads == 1
    assert settle(None, environ).config.threads == 2
    assert settle().config.threads == 3
    assert str(settle().provenance["threads"]) == "bridge.toml"
    assert settle(folder=tmp_path / "elsewhere").config.threads == ServerConfig().threads


def test_paths_of_a_file_begin_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "bridge.toml"
    file.write_text('[server]\ntls_cert = "server.pem"\ntls_key = "/run/server.key"\ntokens = ""\n')
    config = settle(file).config
    assert config.tls_cert == tmp_path / "etc" / "server.pem"
    assert config.tls_key == Path("/run/server.key")
    assert config.tokens is None


def test_an_empty_variable_counts_as_not_set() -> None:
    assert sources(settle(environ={"BRIDGE_THREADS": "", "BRIDGE_LISTEN": "", "BRIDGE_INSECURE": ""})) == {}


def test_variables_of_others_are_left_alone() -> None:
    environ = {
        "BRIDGE_TARGET": "localhost:1",
        "BRIDGE_SESSION": "x",
        "BRIDGE_CLIENT_TOKEN_FILE": "x",
        "BRIDGE_SERVICE_HOST": "10.0.0.1",
        "BRIDGE_SERVICE_PORT_GRPC": "50051",
        "BRIDGE_PORT": "tcp://10.0.0.1:50051",
        "BRIDGE_PORT_50051_TCP_ADDR": "10.0.0.1",
        "BRIDGE_HOST_SERVICE_HOST": "10.0.0.2",
        "BRIDGE_HOST_PORT": "tcp://10.0.0.2:50052",
        "MY_BRIDGE_X": "x",
    }
    assert sources(settle(environ=environ)) == {}


def test_unix_alone_is_settled_to_the_users_own_socket() -> None:
    environ = {"BRIDGE_LISTEN": "unix:, 127.0.0.1:0", "BRIDGE_HOST": "unix:", "XDG_RUNTIME_DIR": "/run/user/7"}
    config = settle(environ=environ).config
    assert config.listen == ("unix:/run/user/7/tool-bridge/bridge.sock", "127.0.0.1:0")
    assert config.host == "unix:/run/user/7/tool-bridge/bridge.sock"


def test_the_description_has_every_setting() -> None:
    rows = settle(environ={"BRIDGE_LISTEN": "a:1,b:2"}, flags={"insecure": True}).describe()
    assert [row[0] for row in rows] == [setting.key for setting in SETTINGS]
    assert ("listen", "a:1, b:2", "BRIDGE_LISTEN") in [row[:3] for row in rows]
    assert ("insecure", "true", "--insecure") in [row[:3] for row in rows]
    assert ("grace", "10", "default") in [row[:3] for row in rows]
    assert ("tokens", "", "default") in [row[:3] for row in rows]
    assert all(row[3].endswith(".") for row in rows)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "hints"),
    [
        ({"environ": {"BRIDGE_LISTN": "x"}}, ["BRIDGE_LISTN", "did you mean BRIDGE_LISTEN?"]),
        ({"environ": {"BRIDGE_PORT": "50051"}}, ["BRIDGE_PORT", "docs/configuration.md"]),
        ({"environ": {"BRIDGE_THREADS": "many"}}, ["threads", "BRIDGE_THREADS", "a whole number from 1 to 1024"]),
        ({"environ": {"BRIDGE_THREADS": "9" * 5000}}, ["threads", "from 1 to 1024"]),
        ({"environ": {"BRIDGE_GRACE": "nan"}}, ["grace", "a number from 0 to 86400"]),
        ({"environ": {"BRIDGE_GRACE": "inf"}}, ["grace", "a number from 0 to 86400"]),
        ({"environ": {"BRIDGE_INSECURE": "perhaps"}}, ["insecure", "true or false"]),
        ({"environ": {"BRIDGE_REFLECTION": "of"}}, ["reflection", "one of auto, on, off", "did you mean 'off'?"]),
        ({"environ": {"BRIDGE_LISTEN": "x"}}, ["listen", "BRIDGE_LISTEN", "has no port"]),
        ({"environ": {"BRIDGE_LISTEN": ","}}, ["listen", "at least one"]),
        ({"environ": {"BRIDGE_LISTEN": "a:1,a:1"}}, ["listen", "twice"]),
        ({"environ": {"BRIDGE_LISTEN": "unix:", "XDG_RUNTIME_DIR": "/" + "x" * 100}}, ["listen", "shorten"]),
        ({"environ": {"BRIDGE_METRICS": "9464"}}, ["metrics", "has no port"]),
        ({"environ": {"BRIDGE_TRACING": "yes"}}, ["tracing", "auto, off"]),
        ({"flags": {"max_concurent_calls": 1}}, ["--max-concurent-calls", "did you mean max_concurrent_calls?"]),
        ({"flags": {"engine": "h2"}}, ["engine", "--engine", "one of grpcio"]),
        ({"flags": {"threads": True}}, ["threads", "--threads"]),
        ({"flags": {"adapters": [""]}}, ["adapters", "ADAPTER", "empty"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_source_and_what_is_allowed(
    arguments: dict[str, Any], hints: list[str]
) -> None:
    message = refusal(**arguments).message
    for hint in hints:
        assert hint in message


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("[server]\nthread = 1\n", ["thread", "did you mean threads?"]),
        ('[server]\nthreads = "4"\n', ["threads", "a whole number"]),
        ("[server]\nthreads = 4.0\n", ["threads", "a whole number"]),
        ("[server]\nthreads = 0\n", ["threads", "from 1 to 1024"]),
        ("[server]\ninsecure = 1\n", ["insecure", "true or false"]),
        ("[server]\ntls_cert = 1\n", ["tls_cert", "a path"]),
        ("[server]\nlisten = [1]\n", ["listen", "a list of texts"]),
        ("[server]\ngrace = nan\n", ["grace"]),
        ("[server]\ngrace = 2020-01-01\n", ["grace"]),
        ("[server.limits]\nthreads = 1\n", ["limits", "no such setting"]),
        ("threads = 1\n", ["threads", "[server]"]),
        ("server = 1\n", ["server", "[server]"]),
        ("[sever]\n", ["sever", "[server]"]),
        ("[server\n", ["is not TOML"]),
        ("x = " + "[" * 5000, ["is not TOML"]),
        ("x = " + "1" * 5000, ["is not TOML"]),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, hints: list[str]) -> None:
    file = toml(tmp_path, text)
    message = refusal(file=file).message
    for hint in (str(file), *hints):
        assert hint in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(file=tmp_path / "missing.toml").message
    assert "Is a directory" in refusal(file=tmp_path).message
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not TOML" in refusal(file=tmp_path / "binary").message
    assert "missing" in refusal(environ={"BRIDGE_CONFIG": "missing"}).message


def test_every_problem_is_told_at_once() -> None:
    error = refusal(environ={"BRIDGE_THREADS": "0", "BRIDGE_GRACE": "-1"}, flags={"colour": "blue"})
    assert [violation.field for violation in error.violations] == ["grace", "threads", "colour"]
    assert error.message.startswith("3 settings are wrong:\n")


@pytest.mark.parametrize(
    ("flags", "fields", "hint"),
    [
        ({"tls_cert": Path("x")}, ["tls_key"], "tls_cert from --tls-cert"),
        ({"tls_key": Path("x")}, ["tls_cert"], "tls_key is set"),
        ({"tls_client_ca": Path("x")}, ["tls_client_ca"], "tls_cert"),
        ({"default_timeout": 10.0, "max_timeout": 5.0}, ["default_timeout"], "max_timeout from --max-timeout"),
        ({"max_in_flight_bytes": 1024}, ["max_message_bytes"], "max_message_bytes from default"),
        ({"debug": True, "redact_errors": True}, ["debug"], "choose one"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(flags: dict[str, Any], fields: list[str], hint: str) -> None:
    error = refusal(flags=flags)
    assert [violation.field for violation in error.violations] == fields
    assert hint in error.message


def test_a_config_made_in_code_is_checked_too() -> None:
    with pytest.raises(BridgeError, match="threads") as caught:
        ServerConfig(threads=0)
    assert caught.value.reason == "CONFIG"
    with pytest.raises(BridgeError, match="log_level"):
        ServerConfig(log_level="loud")  # type: ignore[arg-type, unused-ignore]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.just(Path("x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(SETTINGS), anything)
def test_any_flag_is_a_config_or_a_refusal(setting: Setting, value: object) -> None:
    try:
        config = settle(flags={setting.key: value}).config
    except BridgeError:
        return
    assert setting.problem(getattr(config, setting.key)) is None


@given(st.sampled_from(SETTINGS), st.text(max_size=40))
def test_any_variable_is_a_config_or_a_refusal(setting: Setting, text: str) -> None:
    try:
        config = settle(environ={setting.env: text}).config
    except BridgeError:
        return
    assert setting.problem(getattr(config, setting.key)) is None


# The table


def test_names_follow_from_the_key() -> None:
    setting = next(setting for setting in SETTINGS if setting.key == "max_concurrent_calls")
    assert setting.env == "BRIDGE_MAX_CONCURRENT_CALLS"
    assert setting.flag == "--max-concurrent-calls"
    assert setting.default_text == "256"


def test_the_documentation_has_the_table_as_it_is() -> None:
    documented = DOCS.read_text("utf-8")
    for setting in SETTINGS:
        assert f"`{setting.key}`" in documented
        assert f"`{setting.env}`" in documented
    missing = "\n".join(difflib.ndiff(documented.splitlines(), markdown().splitlines()))
    assert markdown() in documented, f"paste the output of bridge.config.markdown() into {DOCS.name}:\n{missing}"


def test_defaults_are_documented_the_same_on_every_machine() -> None:
    assert 8 <= ServerConfig().threads <= 32
    assert "4 per CPU, 8 to 32" in markdown()


def test_only_the_environment_that_is_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_THREADS", "3")
    monkeypatch.setenv("BRIDGE_NONSENSE", "3")
    assert settle() == settle(environ={})
    assert settle(environ=os.environ.copy() | {"BRIDGE_NONSENSE": ""}).config.threads == 3


# Addresses of stores


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://me:secret@h:1/0", "redis://***@h:1/0"),
        ("redis://:sec/ret@h", "redis://***@h"),
        ("redis://me:sec@ret@h", "redis://***@h"),
        ("rediss://secret@h", "rediss://***@h"),
        ("unix:///run/redis.sock?db=1&PASSWORD=secret", "unix:///run/redis.sock?db=1&PASSWORD=***"),
        ("sqlite://host:a@b.db", "sqlite://host:a@b.db"),
    ],
)
def test_no_password_of_a_store_is_shown_however_it_is_written(address: str, shown: str) -> None:
    settled = settle(environ={"BRIDGE_STORE": address})
    assert next(value for key, value, *_ in settled.describe() if key == "store") == shown


@pytest.mark.parametrize("address", ["", "Memory", "sqlite:", "sqlite::memory:", "sqlite:x?synchronous=off", "redis:x"])
def test_address_of_no_store_is_refused_with_those_there_are(address: str) -> None:
    message = refusal(flags={"store": address}).message
    for form in ("store", "memory", "sqlite:PATH", "redis://HOST:PORT/DB"):
        assert form in message

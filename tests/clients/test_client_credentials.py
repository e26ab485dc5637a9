"""Tokens and configuration files of a client."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bridge.credentials import FileToken, token_source
from bridge.errors import BridgeError, Code
from bridge.security import write_client_config
from bridge_client import BridgeClient, ClientConfig
from tests.clients.memory import MemoryServer, chunk, result


async def test_token_goes_with_every_call_of_every_kind() -> None:
    memory = MemoryServer()
    memory.outcomes.extend([result(1), [chunk(0, final=True)]])
    async with memory.client(token="secret") as client:
        await client.call("tool")
        assert [value async for value in client.stream("tool")] == []
        await client.tools()
    assert [call.headers["authorization"] for call in memory.calls] == ["Bearer secret"] * 3


async def test_token_from_a_function_is_asked_for_each_call() -> None:
    memory, tokens = MemoryServer(), iter(["one", "two"])
    memory.outcomes.append(result(1))
    async with memory.client(token=lambda: next(tokens)) as client:
        await client.call("tool")
        await client.call("tool")
    assert [call.headers["authorization"] for call in memory.calls] == ["Bearer one", "Bearer two"]


def test_token_file_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "token", tmp_path / "other"
    path.write_text("first-token\n")
    token = FileToken(path)
    assert token() == "first-token"
    other.write_text("second-token\n")
    other.replace(path)
    assert token() == "second-token"


@pytest.mark.parametrize(
    "text",
    ["s3cret", "s3cret\n", "# comment\n\nworker s3cret\nother t0ken\n", "worker:s3cret\n", "  worker   s3cret  \n"],
)
def test_token_file_may_be_the_one_of_the_server(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    assert FileToken(path)() == "s3cret"


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xff\xfe", b"a" * 10_000, None])
def test_token_file_without_a_token_names_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BridgeError) as caught:
        FileToken(path)()
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "BAD_TOKEN")
    assert str(path) in caught.value.message


@pytest.mark.parametrize("token", ["", "two words", "line\r\nx-evil: 1", "ünïcode", "x" * 9000])
def test_token_that_would_break_a_header_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(BridgeError) as caught:
        token_source(token)
    assert caught.value.reason == "BAD_TOKEN"
    assert token == "" or token not in caught.value.message


def write(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_paths_in_a_config_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "client.json", target="127.0.0.1:1", ca="ca.pem", token_file="/etc/token")
    monkeypatch.chdir(tmp_path)
    config = ClientConfig.load("sub/client.json")
    assert config == ClientConfig("127.0.0.1:1", ca=tmp_path / "sub" / "ca.pem", token_file=Path("/etc/token"))


def test_config_that_a_server_writes_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    write_client_config(path, target="127.0.0.1:5", ca=tmp_path / "ca.pem", server_name="bridge")
    assert ClientConfig.load(path) == ClientConfig("127.0.0.1:5", ca=tmp_path / "ca.pem", server_name="bridge")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"target": 5}', '{"target": ""}', '{"target": "a:1", "cA": "x"}', "[" * 100_000]
)
def test_config_that_is_none_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "client.json"
    path.write_text(content)
    with pytest.raises(BridgeError) as caught:
        BridgeClient.from_config(path)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "CLIENT_CONFIG")
    assert str(path) in caught.value.message


def test_missing_config_or_certificate_names_the_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", write(tmp_path / "c.json", target="a:1", ca="none.pem")):
        with pytest.raises(BridgeError) as caught:
            BridgeClient.from_config(path)
        assert "none" in caught.value.message


def test_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="go together"):
        BridgeClient.from_config(write(tmp_path / "c.json", target="a:1", certificate="c.pem"))


def test_config_without_certificates_means_no_tls(tmp_path: Path) -> None:
    config = ClientConfig.load(write(tmp_path / "c.json", target="a:1", token_file="t"))
    assert config.tls() is None
    assert os.fspath(config.token_file or "") == str(tmp_path / "t")

"""``bridge doctor`` finds what is wrong and says what to do."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.checks import CORE_PACKAGES, STUBS
from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import ADAPTER, bridge
from tests.support.redis_server import RedisServer

SAMPLE = f"{ADAPTER}:Sample"
ROOT = Path(__file__).parents[2]


def problems(document: Any) -> dict[str, str]:
    """Text of the problems by area; each must have an advice."""
    found = [finding for finding in document["findings"] if finding["status"] == "problem"]
    assert all(finding["advice"] for finding in found)
    return {finding["area"]: finding["text"] for finding in found}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_LISTEN", "127.0.0.1:0")


@pytest.mark.usefixtures("free")
def test_nothing_is_wrong_here(run: Command) -> None:
    done = run("doctor", SAMPLE)
    assert (done.code, done.err) == (0, "")
    assert "nothing is wrong" in done.out
    assert "echo" in done.out
    assert re.search(r"listen +│ 127.0.0.1:0 +│ BRIDGE_LISTEN", done.out)


@pytest.mark.usefixtures("free")
def test_every_setting_has_its_source(run: Command, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[server]\nthreads = 3\n")
    settings = {
        setting["key"]: (setting["value"], setting["source"])
        for setting in run("doctor", "--config", "own.toml", "--json-output").document["configuration"]
    }
    assert settings["threads"] == ("3", "own.toml")
    assert settings["listen"] == ("127.0.0.1:0", "BRIDGE_LISTEN")
    assert settings["grace"] == ("10", "default")


@pytest.mark.usefixtures("free")
def test_adapters_that_cannot_be_loaded_are_a_problem(run: Command) -> None:
    done = run("doctor", "absent_module:Tools", "--json-output")
    assert done.code == ExitCode.FAILED
    assert "absent_module" in problems(done.document)["adapters"]


@pytest.mark.usefixtures("free")
def test_adapters_with_one_tool_name_are_a_problem(run: Command) -> None:
    done = run("doctor", SAMPLE, SAMPLE, "--json-output")
    assert "both have a tool" in problems(done.document)["adapters"]


def test_wrong_configuration_is_a_problem_for_each_setting(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_THREADS", "many")
    monkeypatch.setenv("BRIDGE_TOKENZ", "x")
    done = run("doctor", "--json-output")
    assert done.code == ExitCode.FAILED
    texts = [finding["text"] for finding in done.document["findings"] if finding["status"] == "problem"]
    assert any(text.startswith("threads: set by BRIDGE_THREADS") for text in texts)
    assert any("did you mean BRIDGE_TOKENS?" in text for text in texts)


def test_address_of_another_program_is_a_problem(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("BRIDGE_LISTEN", f"127.0.0.1:{other.getsockname()[1]}")
        monkeypatch.setattr("bridge.cli.checks.ANSWER_TIMEOUT", 0.2)
        assert "is in use" in problems(run("doctor", "--json-output").document)["addresses"]


def test_address_of_a_bridge_says_which(run: Command, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_LISTEN", server)
    done = run("doctor")
    assert done.code == 0
    assert f"{server}: tool-bridge" in done.out


def test_sockets_are_free_stale_or_taken(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bridge.sock"
    monkeypatch.setenv("BRIDGE_LISTEN", f"unix:{path}")
    monkeypatch.setattr("bridge.cli.checks.ANSWER_TIMEOUT", 0.2)
    assert run("doctor").code == 0
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert run("doctor").code == 0
        other.listen()
        assert "is in use" in problems(run("doctor", "--json-output").document)["addresses"]
    path.unlink()


@pytest.mark.usefixtures("free")
def test_host_that_is_down_is_a_problem(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.cli.checks.ANSWER_TIMEOUT", 0.2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BRIDGE_HOST", f"127.0.0.1:{closed.getsockname()[1]}")
        assert "host" in problems(run("doctor", "--json-output").document)


@pytest.mark.usefixtures("free")
def test_redis_that_is_down_is_a_problem(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer(tmp_path / "redis", password="secret") as redis:
        monkeypatch.setenv("BRIDGE_STORE", redis.url)
        up = run("doctor", "--json-output")
        assert (up.code, "store" in {finding["area"] for finding in up.document["findings"]}) == (ExitCode.OK, True)
    down = run("doctor", "--json-output")
    assert "cannot be reached" in problems(down.document)["store"]
    assert "secret" not in up.out + down.out


def test_address_that_needs_tls_is_a_problem(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_LISTEN", "0.0.0.0:0")
    assert "--insecure" in problems(run("doctor", "--json-output").document)["security"]


def test_slow_protobuf_backend_is_a_problem(tmp_path: Path) -> None:
    done = bridge("doctor", "--json-output", cwd=tmp_path, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    assert done.code == ExitCode.FAILED
    assert "pure Python" in problems(done.document)["protobuf"]


def test_lists_of_packages_and_stubs_are_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in project["dependencies"]}
    assert set(CORE_PACKAGES) == names
    assert set(STUBS) == {path.stem for path in (ROOT / "bridge" / "v1").glob("*_pb2*.py")}

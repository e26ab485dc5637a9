"""Commands that call a server, against a real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from bridge_client.sync import BridgeClient
from tests.cli.conftest import Command
from tests.cli.running import LIMIT, Lines, bridge, command, environment


def test_arguments_have_the_types_the_tool_takes(call: Command) -> None:
    done = call("call", "text", "text=5", "times=2", "ratio=1.10", "note=null", "--json-output")
    assert (done.code, done.err) == (0, "")
    assert done.document == ["55", None, {"$decimal": "1.10"}]


def test_json_and_names_go_together(call: Command) -> None:
    done = call("call", "text", "note=mine", "--json", '{"text": "a", "times": 3}', "--json-output")
    assert done.document == ["aaa", "mine", None]


def test_json_comes_from_stdin_and_output_of_one_call_is_input_of_the_next(server: str, tmp_path: Path) -> None:
    document = json.dumps({"value": {"data": {"$bytes": "aGk="}, "big": 2**70, "exact": {"$decimal": "0.10"}}})
    arguments = ("call", "echo", "--json", "-", "--json-output", "--target", server)
    done = bridge(*arguments, cwd=tmp_path, stdin=document)
    assert done.document == json.loads(document)["value"]


def test_environment_names_the_server(server: str, tmp_path: Path) -> None:
    done = bridge("call", "size", "data=12345", cwd=tmp_path, BRIDGE_TARGET=server)
    assert (done.code, done.out, done.err) == (0, "5\n", "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("to be", "to be\n"),
        ("null", "null\n"),
        ('{"a": [1]}', '{\n  "a": [\n    1\n  ]\n}\n'),
        ('{"$float": "nan"}', "nan\n"),
        ('{"b": {"$bytes": "aGk="}}', '{\n  "b": "<2 bytes: 68 69>"\n}\n'),
        ('{"$datetime": "2024-01-02T00:00:00+00:00"}', "2024-01-02 00:00:00+00:00\n"),
        ('{"$array": {"dtype": "int64", "shape": [2], "values": [1, 2]}}', "<int64 array of shape 2>\n[1 2]\n"),
        ('{"$table": {"columns": ["a"], "rows": [[1]]}}', "<table of 1 rows: a>\n"),
    ],
)
def test_result_is_shown_to_people(call: Command, value: str, shown: str) -> None:
    if "$array" in value:
        pytest.importorskip("numpy")
    if "$table" in value:
        pytest.importorskip("pyarrow")
    done = call("call", "echo", f"value={value}")
    assert (done.code, done.out) == (0, shown)


def test_bytes_go_to_a_pipe_as_they_are(server: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00\xff\n")
    arguments = command("call", "echo", 'value:={"$bytes": "AP8K"}', "--target", server)
    done = subprocess.run(arguments, env=environment(), capture_output=True, timeout=LIMIT, check=True)
    assert done.stdout == b"\x00\xff\n"


def test_session_of_somebody_is_used(call: Command, server: str) -> None:
    with BridgeClient(server) as client, client.session() as session:
        session.set("colour", "green")
        done = call("call", "read_variable", "name=colour", "--session", session.session_id)
        assert (done.code, done.out) == (0, "green\n")


FAILURES = [
    (("call", "ecko", "value=1"), ExitCode.FAILED, "NOT_FOUND", "did you mean 'echo'?"),
    (("call", "text", "text=a", "times=x"), ExitCode.FAILED, "INVALID_ARGUMENT", "$.times expected int"),
    (("call", "steps"), ExitCode.FAILED, "FAILED_PRECONDITION", "bridge stream"),
    (("call", "read_variable", "name=x"), ExitCode.FAILED, "FAILED_PRECONDITION", "--session"),
    (("stream", "endless", "--timeout", "0.1"), ExitCode.FAILED, "DEADLINE_EXCEEDED", "--timeout"),
    (("tools", "ecko"), ExitCode.FAILED, "NOT_FOUND", "did you mean 'echo'?"),
    (("health", "absent"), ExitCode.FAILED, "NOT_FOUND", "absent"),
    (("call", "echo", "value"), ExitCode.USAGE, "INVALID_ARGUMENT", "write name=value"),
    (("call", "echo", "--json", "{"), ExitCode.USAGE, "INVALID_ARGUMENT", "not JSON"),
    (("call", "echo", "--timeout", "soon"), ExitCode.USAGE, "INVALID_ARGUMENT", "--timeout"),
    (("call", "echo", "--client-config", "absent.json"), ExitCode.USAGE, "INVALID_ARGUMENT", "absent.json"),
    (("call", "echo", "--token-file", "absent"), ExitCode.USAGE, "INVALID_ARGUMENT", "absent"),
    (("call", "echo", "--ca", "absent.pem"), ExitCode.USAGE, "INVALID_ARGUMENT", "absent.pem"),
    (("call",), ExitCode.USAGE, "INVALID_ARGUMENT", "TOOL"),
    (("tools", "--absent"), ExitCode.USAGE, "INVALID_ARGUMENT", "--absent"),
]
NAMES = [" ".join(arguments) for arguments, *_ in FAILURES]


@pytest.mark.parametrize(("arguments", "code", "status", "text"), FAILURES, ids=NAMES)
def test_failure_says_what_why_and_what_next(
    call: Command, arguments: tuple[str, ...], code: ExitCode, status: str, text: str
) -> None:
    done = call(*arguments)
    assert done.code == code
    assert text in done.err
    assert done.err.startswith("bridge: ")
    assert "Traceback" not in done.err
    assert (status in done.err) == (code == ExitCode.FAILED)
    assert "endless" in arguments or done.out == ""


@pytest.mark.parametrize(("arguments", "code", "status", "text"), FAILURES, ids=NAMES)
def test_failure_is_one_json_document(
    call: Command, arguments: tuple[str, ...], code: ExitCode, status: str, text: str
) -> None:
    done = call(*arguments, "--json-output")
    assert (done.code, done.err) == (code, "")
    error = json.loads(done.out.splitlines()[-1])["error"]
    assert error["code"] == status
    assert set(error) == {"code", "message", "reason", "violations", "retry_after", "metadata"}


def test_violations_are_in_the_document(call: Command) -> None:
    error = call("call", "text", "times=x", "--json-output").document["error"]
    assert {violation["field"] for violation in error["violations"]} == {"$.text", "$.times"}


def test_server_that_is_down_is_named(run: Command) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{closed.getsockname()[1]}"
        done = run("call", "echo", "value=1", "--target", target)
    assert done.code == ExitCode.FAILED
    assert f"nobody answers at {target}" in done.err
    assert "bridge serve" in done.err


def test_stream_prints_each_value_on_a_line(call: Command) -> None:
    assert call("stream", "steps", "n=2").out == "1\n2\n"
    assert call("stream", "steps", "n=2", "--json-output").out == "1\n2\n"


def test_stream_into_a_closed_pipe_ends_quietly(server: str, tmp_path: Path) -> None:
    arguments = command("stream", "endless", "--target", server)
    process = subprocess.Popen(
        arguments, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert (process.wait(LIMIT), process.stderr.read()) == (ExitCode.OK, "")
    process.stderr.close()


def test_interrupted_stream_is_exit_code_130_without_a_traceback(server: str, tmp_path: Path) -> None:
    arguments = command("stream", "endless", "--target", server)
    process = subprocess.Popen(
        arguments, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines = Lines(process.stdout)
    assert lines.next() == "0"
    process.send_signal(signal.SIGINT)
    lines.rest()
    assert process.wait(LIMIT) == ExitCode.INTERRUPTED
    assert "Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


def read_terminal(terminal: int) -> str:
    """Everything written to a terminal whose other end is closed."""
    text = b""
    try:
        while data := os.read(terminal, 65536):
            text += data
    except OSError:
        pass  # how Linux says that the other end is closed
    return text.decode()


def test_progress_is_a_bar_on_the_terminal_and_values_stay_on_stdout(server: str, tmp_path: Path) -> None:
    master, slave = os.openpty()
    arguments = command("stream", "steps", "n=3", "--target", server)
    done = subprocess.run(
        arguments,
        env=environment(TERM="xterm", COLUMNS="100"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=LIMIT,
        check=True,
    )
    os.close(slave)
    assert done.stdout == b"1\n2\n3\n"
    assert "step 3 of 3" in read_terminal(master)
    os.close(master)


def test_result_cannot_control_the_terminal(server: str, tmp_path: Path) -> None:
    master, slave = os.openpty()
    for value in ("\x1b[31mred\x9b2J", json.dumps({"a": "\x9b2J"})):
        arguments = command("call", "echo", f"value={value}", "--target", server)
        subprocess.run(arguments, env=environment(TERM="dumb"), cwd=tmp_path, stdout=slave, timeout=LIMIT, check=True)
    os.close(slave)
    text = read_terminal(master)
    assert "\\x1b[31mred\\x9b2J" in text
    assert "\x9b" not in text
    os.close(master)


def test_tools_are_listed_for_people_and_programs(call: Command) -> None:
    table = call("tools")
    assert "steps (streams)" in table.out
    assert "text, [times], [note], [ratio]" in table.out
    documents = call("tools", "--json-output").document
    assert [tool["name"] for tool in documents] == sorted(tool["name"] for tool in documents)


def test_one_tool_is_described_with_its_schema(call: Command) -> None:
    shown = call("tools", "text")
    assert "repeated." in shown.out
    assert "required" in shown.out
    document = call("tools", "text", "--json-output").document
    assert document["input_schema"]["properties"]["times"]["type"] == "integer"
    assert [parameter["name"] for parameter in document["parameters"]] == ["text", "times", "note", "ratio"]
    assert "default" not in document["parameters"][0]
    assert document["parameters"][1]["default"] == 1


def test_health_says_serving(call: Command, run: Command, server: str) -> None:
    assert call("health").out == "SERVING\n"
    assert run("health", server).out == "SERVING\n"
    assert call("health", server).code == ExitCode.USAGE
    assert call("health", "bridge.v1.BridgeService", "--json-output").document == {
        "service": "bridge.v1.BridgeService",
        "status": "SERVING",
    }

"""The scenarios of messages and framing with the real programs, over both framings, by socket and by pipes."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import LIMIT, command, environment

TOOLS = f"{Path(__file__).with_name('wire_tools.py')}:Wired"
MAX_BYTES = 1024 * 1024
WAYS = ["socket", "pipes"]
FRAMINGS = ["content-length", "newline"]


class Line:
    """A connection that says any bytes."""

    def __init__(self, reads: int, writes: int, framing: str) -> None:
        self._reads, self._writes, self.framing = reads, writes, framing
        self._heard = b""
        self._ids = itertools.count(1000)

    @property
    def has_headers(self) -> bool:
        return self.framing == "content-length"

    def framed(self, text: bytes | str) -> bytes:
        data = text.encode() if isinstance(text, str) else text
        return b"Content-Length: %d\r\n\r\n%b" % (len(data), data) if self.has_headers else data + b"\n"

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._writes, data) :]

    def say(self, message: Any) -> None:
        self.write(self.framed(message if isinstance(message, bytes | str) else json.dumps(message)))

    def hear(self) -> Any:
        """The next message; ``None`` at the end."""
        while (message := self._message()) is None:
            ready, _, _ = select.select([self._reads], [], [], LIMIT)
            assert ready, "no answer"
            data = os.read(self._reads, 65536)
            if not data:
                assert not self._heard, "a torn message"
                return None
            self._heard += data
        return json.loads(message)

    def call(self, method: str, params: Any = None) -> Any:
        """The answer to a request, which is the next message."""
        id = next(self._ids)
        self.say(request(method, params, id))
        answer = self.hear()
        assert answer.pop("id") == id
        assert answer.pop("jsonrpc") == "2.0"
        return answer

    def works(self) -> None:
        """All that was said before was answered, if it is to be, and the next request is."""
        assert self.call("add", [1]) == {"result": 2}

    def refuses(self, said: Any, code: int, id: Any = None) -> None:
        """Is answered by an error; the next request works."""
        self.say(said)
        answer = self.hear()
        assert (answer["id"], answer["error"]["code"]) == (id, code), answer
        assert "result" not in answer
        self.works()

    def closes(self, said: bytes, code: int = -32700) -> None:
        """Is answered by an error, and then the connection is closed."""
        self.write(said)
        answer = self.hear()
        assert (answer["id"], answer["error"]["code"]) == (None, code), answer
        assert self.hear() is None

    def _message(self) -> bytes | None:
        if self.has_headers:
            head, blank, rest = self._heard.partition(b"\r\n\r\n")
            if not blank or len(rest) < (size := int(head.split(b":")[1])):
                return None
            message, self._heard = rest[:size], rest[size:]
            return message
        message, end, rest = self._heard.partition(b"\n")
        if not end:
            return None
        self._heard = rest
        return message


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


@contextmanager
def process(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        command(*arguments, TOOLS, "--max-message-bytes", str(MAX_BYTES)), env=environment(), bufsize=0, **options
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@contextmanager
def by_pipes(framing: str) -> Iterator[Line]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with process("stdio", "--framing", framing, **pipes) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        yield Line(running.stdout.fileno(), running.stdin.fileno(), framing)


@contextmanager
def by_socket(path: Path, framing: str) -> Iterator[Line]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        yield Line(connection.fileno(), connection.fileno(), framing)


@pytest.fixture(scope="module", params=FRAMINGS)
def framing(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, framing: str) -> Iterator[Path]:
    """The socket of a server of the framing."""
    path = tmp_path_factory.mktemp("own") / "s"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with process("serve", "--jsonrpc", f"unix:{path}", "--framing", framing, **pipes) as running:
        assert running.stdout is not None
        ready, _, _ = select.select([running.stdout], [], [], LIMIT)
        assert ready
        assert b"serving on" in running.stdout.readline()
        yield path


@pytest.fixture(scope="module", params=WAYS)
def line(request: pytest.FixtureRequest, framing: str) -> Iterator[Line]:
    """A connection that lasts."""
    if request.param == "pipes":
        with by_pipes(framing) as line:
            yield line
    else:
        with by_socket(request.getfixturevalue("path"), framing) as line:
            yield line


@pytest.fixture(params=WAYS)
def last(request: pytest.FixtureRequest, framing: str) -> Iterator[Line]:
    """A connection that may come to its end."""
    if request.param == "pipes":
        with by_pipes(framing) as line:
            yield line
    else:
        with by_socket(request.getfixturevalue("path"), framing) as line:
            yield line


# Messages


def test_J01_a_request_gets_one_response(line: Line) -> None:
    line.say(request("add", [1, 2], 7))
    assert line.hear() == {"jsonrpc": "2.0", "id": 7, "result": 3}
    line.works()


@pytest.mark.parametrize("id", ["a", "", "1", 0, -1, 2**53])
def test_J02_ids_come_back_as_they_were(line: Line, id: Any) -> None:
    line.say(request("add", [1], id))
    answer = line.hear()["id"]
    assert (type(answer), answer) == (type(id), id)


@pytest.mark.parametrize("id", [None, {}, True, 1.5])
def test_J03_what_is_no_id_is_refused(line: Line, id: Any) -> None:
    line.refuses(request("add", [1], id), -32600)


@pytest.mark.parametrize("method", ["add", "unknown", "fail", "system.ping"])
def test_J04_notifications_get_no_answer(line: Line, method: str) -> None:
    line.say({"jsonrpc": "2.0", "method": method})
    line.works()


@pytest.mark.parametrize("text", ["{nope", '{"jsonrpc":"2.0"', "{}}", '{"jsonrpc":"2.0","id":1,"method":"add"} x'])
def test_J05_what_is_not_json_is_refused(line: Line, text: str) -> None:
    line.refuses(text, -32700)


def test_J06_what_is_not_utf8_is_refused_and_a_byte_order_mark_is_not(line: Line) -> None:
    line.refuses(b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700)
    line.say(b"\xef\xbb\xbf" + json.dumps(request("add", [1])).encode())
    assert line.hear()["result"] == 2


@pytest.mark.parametrize("text", ["null", "5", '"x"', "{}", '{"id":null,"method":"add"}'])
def test_J07_what_is_no_message_is_refused(line: Line, text: str) -> None:
    line.refuses(text, -32600)


@pytest.mark.parametrize("method", ["unknown", "rpc.discover", "_private", "__init__", ""])
def test_J08_a_method_that_is_not_there_is_not_found(line: Line, method: str) -> None:
    assert line.call(method)["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("params", "expected"),
    [({"a": 1, "b": 2}, 3), ([1, 2], 3), ([1], 2), (None, "a"), ({}, "a"), ({"a": "x"}, "a"), ({"a": 1, "c": 1}, "c")],
)
def test_J09_params_are_checked_by_name_and_by_position(line: Line, params: Any, expected: Any) -> None:
    answer = line.call("add", params)
    if isinstance(expected, int):
        assert answer == {"result": expected}
    else:
        assert answer["error"]["code"] == -32602
        assert [each["field"] for each in answer["error"]["data"]["violations"]] == [f"$.{expected}"]


def test_J10_the_answers_to_a_batch_come_together(line: Line) -> None:
    line.say([request("add", [id], id) for id in (1, 2, 3)] + [{"jsonrpc": "2.0", "method": "add", "params": [1]}])
    assert {each["id"]: each["result"] for each in line.hear()} == {1: 2, 2: 3, 3: 4}
    line.works()


def test_J11_a_batch_of_notifications_gets_no_answer(line: Line) -> None:
    line.say([{"jsonrpc": "2.0", "method": "add", "params": [1]}] * 3)
    line.works()


def test_J12_an_empty_batch_and_one_of_no_messages(line: Line) -> None:
    line.refuses("[]", -32600)
    line.say("[1,2]")
    assert [each["error"]["code"] for each in line.hear()] == [-32600, -32600]


def test_J13_nothing_runs_of_a_batch_that_is_too_large(line: Line) -> None:
    before = line.call("count")["result"]
    line.refuses([request("count", None, id) for id in range(101)], -32600)
    assert line.call("count")["result"] == before + 1


def test_J14_an_exception_is_an_error_without_a_traceback(line: Line) -> None:
    error = line.call("fail")["error"]
    assert error["code"] == -32052
    assert error["data"]["reason"] == "ValueError"
    assert "Traceback" not in json.dumps(error)
    line.works()


def test_J15_what_has_no_json_has_a_form_or_is_an_error(line: Line) -> None:
    assert line.call("odd", ["nan"]) == {"result": {"$float": "nan"}}
    assert line.call("odd", ["bytes"]) == {"result": {"$bytes": "aGk="}}
    assert line.call("odd", ["object"])["error"]["data"]["reason"] == "UNSUPPORTED_RESULT"
    line.works()


def test_J16_an_id_that_runs_is_refused_and_the_first_is_answered(line: Line) -> None:
    line.say(request("wait", None, 5))
    line.refuses(request("add", [1], 5), -32600)
    line.say({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 5}})
    answer = line.hear()
    assert (answer["id"], answer["error"]["code"]) == (5, -32800)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_J17_what_is_nested_too_deep_is_refused(line: Line, text: str) -> None:
    line.say(text)
    assert line.hear()["error"]["code"] in (-32700, -32600)
    line.works()


def test_J18_numbers_surrogates_and_names_that_come_twice(line: Line) -> None:
    assert line.call("echo", [10**30]) == {"result": 10**30}
    line.refuses('{"jsonrpc":"2.0","id":1,"method":"echo","params":["\\ud800"]}', -32700)
    line.say('{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":1,"value":2}}')
    assert line.hear()["result"] == 2


# Framing


def test_F01_one_byte_at_a_time(line: Line) -> None:
    for byte in line.framed(json.dumps(request("add", [1]))):
        line.write(bytes([byte]))
    assert line.hear()["result"] == 2


def test_F02_several_messages_at_once_and_one_cut_inside_of_a_character(line: Line) -> None:
    text = line.framed(json.dumps(request("echo", ["é🎈"]), ensure_ascii=False))
    line.write(text + text.replace(b'"id": 1', b'"id": 2') + text[: text.index("é".encode()) + 1])
    assert {line.hear()["id"], line.hear()["id"]} == {1, 2}
    line.write(text[text.index("é".encode()) + 1 :])
    assert line.hear()["result"] == "é🎈"


def test_F03_headers_and_ends_of_lines_in_other_forms(line: Line) -> None:
    text = json.dumps(request("add", [1])).encode()
    if line.has_headers:
        for head in (b"content-length:%d\n\n", b"Content-Type: x; charset=utf-8\r\nCONTENT-LENGTH : %d \r\n\r\n"):
            line.write(head % len(text) + text)
            assert line.hear()["result"] == 2
    else:
        line.write(b"\r\n \n\n" + text + b"\r\n")
        assert line.hear()["result"] == 2
    line.works()


@pytest.mark.parametrize("length", ["", "Content-Length: x", "Content-Length: -1", "Content-Length: +5"])
def test_F04_a_header_that_says_no_length_ends_the_connection(last: Line, length: str) -> None:
    if last.has_headers:
        last.closes(f"X: y\r\n{length}\r\n\r\n".replace("\r\n\r\n\r\n", "\r\n\r\n").encode())
    else:
        last.write(f"{length}\n{{nope\n".encode())  # in lines nothing is lost but the line
        assert {last.hear()["error"]["code"] for _ in range(1 + bool(length))} == {-32700}
        last.works()


def test_F05_an_empty_message_is_refused_and_an_empty_line_is_nothing(line: Line) -> None:
    line.write(line.framed(""))
    if line.has_headers:
        assert line.hear()["error"]["code"] == -32600
    line.works()


def test_F06_a_message_that_is_too_long_ends_the_connection_before_it_has_come(last: Line) -> None:
    if last.has_headers:
        last.closes(b"Content-Length: %d\r\n\r\n" % (2 * MAX_BYTES))
    else:
        last.closes(b"x" * (MAX_BYTES + 1))


def test_F07_headers_that_do_not_end_end_the_connection(last: Line) -> None:
    if last.has_headers:
        last.closes(b"X: " + b"y" * 8192)
    else:
        last.say("X: " + "y" * 8192)
        assert last.hear()["error"]["code"] == -32700
        last.works()


def test_F11_lengths_count_bytes(line: Line) -> None:
    assert line.call("echo", ["ä" * 1000 + "🎈"]) == {"result": "ä" * 1000 + "🎈"}


@pytest.mark.parametrize("junk", [b"CMAT\x00\x00\x00\x05\x00\x01", b"\x00\xff\xfe\n", b"\x16\x03\x01\x02\n"])
def test_F13_junk_is_answered_at_once(last: Line, junk: bytes) -> None:
    if last.has_headers:
        last.closes(junk)
    else:
        last.refuses(junk.strip(b"\n"), -32700)


# Concurrency


def test_C01_a_hundred_requests_behind_a_slow_one_are_answered_once_each(line: Line) -> None:
    line.say(request("wait", None, "slow"))
    line.write(b"".join(line.framed(json.dumps(request("echo", [id], id))) for id in range(100)))
    answers = [line.hear() for _ in range(100)]
    assert sorted(each["id"] for each in answers) == list(range(100))
    assert all(each["id"] == each["result"] for each in answers)
    line.say({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "slow"}})
    assert line.hear()["id"] == "slow"
    line.works()


@pytest.mark.parametrize(("method", "name"), [("$/cancelRequest", "id"), ("notifications/cancelled", "requestId")])
def test_C02_a_cancelled_request_is_answered_so(line: Line, method: str, name: str) -> None:
    line.say(request("wait", None, 9))
    line.say({"jsonrpc": "2.0", "method": method, "params": {name: 9}})
    answer = line.hear()
    assert (answer["id"], answer["error"]["code"]) == (9, -32800)
    line.works()


def test_C04_cancels_of_what_does_not_run_are_ignored(line: Line) -> None:
    for id in (12345, "never", 7):
        line.say({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    line.works()


def test_C06_a_deadline_ends_the_call(line: Line) -> None:
    error = line.call("tools.call", {"name": "wait", "_meta": {"timeout": 0.05}})["error"]
    assert error["code"] == -32001
    line.works()


def test_C07_values_of_a_stream_come_in_order_and_then_its_end(line: Line) -> None:
    line.say(request("tools.stream", {"name": "some", "arguments": [5]}, 3))
    messages = [line.hear() for _ in range(6)]
    assert [each["params"]["value"] for each in messages[:5]] == [0, 1, 2, 3, 4]
    assert messages[5] == {"jsonrpc": "2.0", "id": 3, "result": {"chunks": 5}}
    line.works()


def test_what_is_told_begins_before_what_is_asked_after_it(line: Line) -> None:
    before = line.call("count")["result"]
    told = line.framed(json.dumps({"jsonrpc": "2.0", "method": "count"}))
    line.write(told * 3 + line.framed(json.dumps(request("count"))))
    assert line.hear()["result"] == before + 4

"""Newline framing, by the numbers of its scenarios."""

from __future__ import annotations

import json

import pytest

from bridge.errors import Code
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.newline import Newline
from tests.protocols.wire import Side, call, each_byte, framed, heard

LIMITS = ProtocolLimits(max_frame_bytes=10)


def test_F01_one_byte_at_a_time_is_the_same_as_one_write() -> None:
    stream = framed(Newline(), b"{}", "é🎈".encode(), b"x" * 300)
    assert heard(Newline(), each_byte(stream)) == heard(Newline(), [stream])
    assert heard(Newline(), [stream]) == ([b"{}", "é🎈".encode(), b"x" * 300], None)


def test_F02_a_stream_may_be_split_at_every_byte() -> None:
    stream = "é🎈\r\n[1]\n".encode()
    for place in range(len(stream)):
        assert heard(Newline(), [stream[:place], stream[place:]]) == (["é🎈".encode(), b"[1]"], None)


@pytest.mark.parametrize("stream", [b"{}\n{}\n", b"{}\r\n{}\r\n", b"\n\r\n{}\n \t\n\n{}\n\n"])
def test_F03_lines_end_in_both_ways_and_empty_ones_mean_nothing(stream: bytes) -> None:
    assert heard(Newline(), [stream]) == ([b"{}", b"{}"], None)
    assert heard(Newline(), each_byte(stream)) == ([b"{}", b"{}"], None)


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"{nope", b"\x00\xff", b"CMAT\x00\x00\x00\x05\x00\x01", b'"'])
def test_F13_a_line_of_junk_is_answered_and_the_next_line_is_heard(line: bytes) -> None:
    first, second = Side(Newline).hear_bytes(line + b"\n" + json.dumps(call(1)).encode() + b"\n")
    assert (first["id"], first["error"]["code"]) == (None, -32700)
    assert second["id"] == 1


def test_F06_a_line_that_is_too_long_ends_the_stream_before_it_is_kept() -> None:
    for pieces in ([b"x" * 11], [b"x" * 11 + b"\n"], each_byte(b"x" * 11), [b"x" * 6, b"x" * 5 + b"\n{}\n"]):
        framing = Newline(LIMITS)
        texts, violation = heard(framing, pieces)
        assert texts == []
        assert violation is not None
        assert (violation.code, violation.reason) == (Code.RESOURCE_EXHAUSTED, "FRAME_TOO_LARGE")
        assert heard(framing, [b"{}\n"]) == ([], violation)
    assert heard(Newline(LIMITS), [b"x" * 10, b"\n", b"y" * 10 + b"\n"]) == ([b"x" * 10, b"y" * 10], None)


def test_F06_the_lines_before_one_that_is_too_long_are_heard() -> None:
    assert heard(Newline(LIMITS), [b"{}\n" + b"x" * 11])[0] == [b"{}"]


def test_F08_a_line_without_its_end_is_cut() -> None:
    framing = Newline()
    assert framing.at_end()
    assert heard(framing, [b'{}\n{"a"']) == ([b"{}"], None)
    assert framing.has_partial
    assert not framing.at_end()
    assert heard(framing, [b":1}\n"]) == ([b'{"a":1}'], None)
    assert framing.at_end()


@pytest.mark.parametrize(
    "text", [b'{\r\n  "a":\n  "b\\nc"\r}', b"[1,\r2]", b"[\n]" * 30_000], ids=["both", "CR", "large"]
)
def test_F11_a_text_of_many_lines_goes_out_as_one_with_the_same_value(text: bytes) -> None:
    parts = Newline().encode(text)
    line = b"".join(parts)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\r" not in line
    assert line.split() == text.split()


def test_a_large_text_goes_out_uncopied() -> None:
    text = b"x" * 100_000
    assert Newline().encode(text)[0] is text

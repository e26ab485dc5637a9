"""Content-Length framing, by the numbers of its scenarios."""

from __future__ import annotations

import tracemalloc

import pytest

from bridge.errors import Code
from bridge.protocols.content_length import ContentLength
from bridge.protocols.limits import ProtocolLimits
from tests.protocols.wire import Side, call, each_byte, framed, heard

LIMITS = ProtocolLimits(max_frame_bytes=1000, max_header_bytes=100)


def refusal(*pieces: bytes) -> tuple[Code, str]:
    """Why a stream ended; nothing was in it."""
    texts, violation = heard(ContentLength(LIMITS), pieces)
    assert texts == []
    assert violation is not None
    return violation.code, violation.reason


BAD_HEADER = (Code.DATA_LOSS, "BAD_HEADER")


def test_F01_one_byte_at_a_time_is_the_same_as_one_write() -> None:
    stream = framed(ContentLength(), b"{}", "é🎈".encode(), b"", b"x" * 300)
    assert heard(ContentLength(), each_byte(stream)) == heard(ContentLength(), [stream])
    assert heard(ContentLength(), [stream]) == ([b"{}", "é🎈".encode(), b"", b"x" * 300], None)


def test_F02_a_stream_may_be_split_at_every_byte() -> None:
    stream = framed(ContentLength(), "é🎈".encode(), b"[1]")
    for place in range(len(stream)):
        framing = ContentLength()
        assert heard(framing, [stream[:place], stream[place:]]) == (["é🎈".encode(), b"[1]"], None)
        assert framing.at_end()


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 2\r\n\r\n",
        b"content-length:2\r\n\r\n",
        b"CONTENT-LENGTH \t: \t2 \t\r\n\r\n",
        b"Content-Length: 2\n\n",
        b"Content-Length: 2\n\r\n",
        b"Content-Length: 2\r\n\n",
        b"Content-Length: 0002\r\n\r\n",
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n",
        b"X-Empty:\r\nX-Other: \xc3\xa9:\t\r\ncontent-Length: 2\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 02\r\n\r\n",
    ],
)
def test_F03_headers_in_every_legal_form_are_understood(header: bytes) -> None:
    stream = (header + b"{}") * 2
    assert heard(ContentLength(), [stream]) == ([b"{}", b"{}"], None)
    assert heard(ContentLength(), each_byte(stream)) == ([b"{}", b"{}"], None)


@pytest.mark.parametrize(
    "header",
    [
        b"\r\n",
        b"\n\n",
        b"Content-Type: text/plain\r\n\r\n",
        b"Content-Length\r\n\r\n",
        b"Content-Length:\r\n\r\n",
        b"Content-Length: five\r\n\r\n",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: +5\r\n\r\n",
        b"Content-Length: 5.0\r\n\r\n",
        b"Content-Length: 1_0\r\n\r\n",
        b"Content-Length: 5 5\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"Content-Length: \xd9\xa5\r\n\r\n",
        b"Content-Length: 5\r\r\n\r\n",
        b"Content-Length: " + b"5" * 50 + b"\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"Content-Length: 5\r\nno header\r\n\r\n",
        b"Content-Length: 5\r\n folded: 6\r\n\r\n",
        b"Content-Length: 5\r\nX: \x00\r\n\r\n",
        b"\xef\xbb\xbfContent-Length: 5\r\n\r\n",
    ],
)
def test_F04_a_header_that_says_no_length_ends_the_stream(header: bytes) -> None:
    assert refusal(header + b"{...}") == BAD_HEADER
    assert refusal(*each_byte(header + b"{...}")) == BAD_HEADER


def test_F04_what_came_before_a_violation_is_heard_and_nothing_after_it() -> None:
    good = framed(ContentLength(), b"{}")
    framing = ContentLength()
    texts, violation = heard(framing, [good + b"Content-Length: x\r\n\r\n" + good])
    assert texts == [b"{}"]
    assert violation is not None
    assert heard(framing, [good]) == ([], violation)
    assert framing.at_end()  # there is nothing left of it


def test_F04_the_other_side_is_told_without_an_id() -> None:
    (answer,) = Side().hear_bytes(b"Content-Length: -5\r\n\r\n")
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)
    assert answer["error"]["data"]["reason"] == "BAD_HEADER"
    assert "Content-Length: BYTES" in answer["error"]["message"]


def test_F05_a_message_of_no_bytes_is_refused_and_the_next_one_is_heard() -> None:
    first, second = Side().hear(b"", call(1))
    assert (first["id"], first["error"]["code"]) == (None, -32600)
    assert second["id"] == 1


def test_F06_a_message_that_is_too_long_is_refused_by_its_header_alone() -> None:
    assert refusal(b"Content-Length: 1001\r\n\r\n") == (Code.RESOURCE_EXHAUSTED, "FRAME_TOO_LARGE")
    assert heard(ContentLength(LIMITS), [framed(ContentLength(), b"x" * 1000)]) == ([b"x" * 1000], None)


def test_F06_nothing_is_set_aside_for_what_a_header_says() -> None:
    tracemalloc.start()
    try:
        for length in (64 * 1024 * 1024, 64 * 1024 * 1024 + 1, 99_999_999_999_999_999_999):
            heard(ContentLength(), [b"Content-Length: %d\r\n\r\nbegin" % length])
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_F07_headers_that_do_not_end_are_refused_within_the_limit(size: int) -> None:
    endless = b"X-Header: value\r\n" * 100
    framing, fed = ContentLength(LIMITS), 0
    while not (refused := heard(framing, [endless[fed : fed + size]])[1]):
        fed += size
    assert refused.reason == "HEADER_TOO_LARGE"
    assert fed < 100


def test_F07_the_limit_is_the_same_however_the_headers_come() -> None:
    for length, allowed in ((100, True), (101, False)):
        header = b"Content-Length: 2\r\nX: ".ljust(length - 4, b"x") + b"\r\n\r\n"
        for pieces in ([header + b"{}"], each_byte(header + b"{}"), [header[:-1], header[-1:] + b"{}"]):
            texts, violation = heard(ContentLength(LIMITS), pieces)
            assert (texts == [b"{}"], violation is None) == (allowed, allowed)


def test_F08_an_end_inside_of_a_message_is_told_from_one_between_two() -> None:
    stream = framed(ContentLength(), b"{}")
    framing = ContentLength()
    for place in range(1, len(stream)):
        assert heard(framing, [stream[place - 1 : place]]) == ([], None)
        assert framing.has_partial
        assert not framing.at_end()
    assert heard(framing, [stream[-1:]]) == ([b"{}"], None)
    assert not framing.has_partial
    assert framing.at_end()


def test_F11_a_length_counts_bytes_not_characters() -> None:
    text = '{"a":"é🎈"}'.encode()
    assert framed(ContentLength(), text).startswith(b"Content-Length: 14\r\n")
    assert heard(ContentLength(), [framed(ContentLength(), text, b"{}")]) == ([text, b"{}"], None)


@pytest.mark.parametrize(
    "junk", [b"CMAT\x00\x00\x00\x05\x00\x01", b"\x16\x03\x01", b'{"jsonrpc"', b"\xff", b" ", b"X:\x1b"]
)
def test_F13_what_is_no_header_ends_the_stream_before_a_line_of_it_is_complete(junk: bytes) -> None:
    assert refusal(junk) == BAD_HEADER
    assert refusal(*each_byte(junk)) == BAD_HEADER


def test_a_large_text_goes_out_uncopied() -> None:
    text = b"x" * 100_000
    header, body = ContentLength().encode(text)
    assert body is text
    assert len(ContentLength().encode(b"{}")) == 1
    assert header == b"Content-Length: 100000\r\n\r\n"

"""The bytes of hashicorp/yamux's spec.md, written by hand."""

from __future__ import annotations

import pytest

from bridge.yamux.config import YamuxConfig
from bridge.yamux.events import (
    DataReceived,
    GoneAway,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from tests.yamux.wires import ACK, FIN, INITIAL, RST, SYN, WINDOW, client, data, events, frame, server


def wire(text: str) -> bytes:
    """Bytes in hexadecimal digits."""
    return bytes.fromhex(text)


def test_a_client_opens_odd_streams_with_an_empty_window_update() -> None:
    peer = client()
    assert (peer.open_stream(), peer.open_stream()) == (1, 3)
    assert peer.take() == wire("00 01 0001 00000001 00000000  00 01 0001 00000003 00000000")


def test_a_server_opens_even_streams() -> None:
    peer = server()
    assert (peer.open_stream(), peer.open_stream()) == (2, 4)
    assert peer.take() == wire("00 01 0001 00000002 00000000  00 01 0001 00000004 00000000")


def test_a_larger_window_is_told_with_the_first_frame_of_each_side() -> None:
    config = YamuxConfig(window=INITIAL + 5)
    opener, accepter = client(config), server(config)
    opener.open_stream()
    opening = opener.take()
    assert opening == wire("00 01 0001 00000001 00000005")
    assert events(accepter, opening) == [StreamOpened(1), WindowOpened(1)]
    assert accepter.window(1) == INITIAL + 5
    accepter.accept(1)
    assert accepter.take() == wire("00 01 0002 00000001 00000005")


def test_data_follows_its_header() -> None:
    peer = client()
    peer.open_stream()
    peer.take()
    peer.send(1, b"hello")
    assert peer.take() == wire("00 00 0000 00000001 00000005 68656c6c6f")
    assert peer.window(1) == INITIAL - 5


def test_a_stream_is_accepted_with_an_empty_window_update() -> None:
    peer = server()
    assert events(peer, wire("00 01 0001 00000001 00000000")) == [StreamOpened(1)]
    assert peer.take() == b""
    peer.accept(1)
    assert peer.take() == wire("00 01 0002 00000001 00000000")


def test_a_stream_may_begin_with_data_and_end_with_it() -> None:
    peer = server()
    got = events(peer, wire("00 00 0005 00000001 00000002 6869"))
    assert got == [StreamOpened(1), DataReceived(1, b"hi"), StreamEnded(1)]


def test_an_acceptance_may_come_with_data() -> None:
    peer = client()
    peer.open_stream()
    assert events(peer, data(1, b"hi", ACK)) == [StreamAccepted(1), DataReceived(1, b"hi")]


def test_both_sides_end_a_stream_with_an_empty_window_update() -> None:
    peer = client()
    peer.open_stream()
    peer.take()
    peer.finish(1)
    assert peer.take() == wire("00 01 0004 00000001 00000000")
    assert peer.stream_count == 1
    assert events(peer, wire("00 01 0004 00000001 00000000")) == [StreamEnded(1)]
    assert peer.stream_count == 0


def test_a_reset_is_a_window_update_and_ends_a_stream_at_once() -> None:
    peer = client()
    peer.open_stream()
    peer.open_stream()
    peer.take()
    peer.reset(1)
    assert peer.take() == wire("00 01 0008 00000001 00000000")
    assert events(peer, wire("00 01 0008 00000003 00000000")) == [StreamReset(3)]
    assert peer.stream_count == 0


@pytest.mark.parametrize("flags", [RST, RST | FIN, RST | ACK], ids=["alone", "with FIN", "with ACK"])
def test_the_payload_of_a_reset_is_thrown_away(flags: int) -> None:
    peer = client()
    peer.open_stream()
    got = events(peer, data(1, b"lost", flags), wire("00 02 0002 00000000 00000007"))
    assert [event for event in got if event != StreamAccepted(1)] == [StreamReset(1), PongReceived(7)]


def test_a_ping_is_answered_with_its_value() -> None:
    peer = server()
    assert events(peer, wire("00 02 0001 00000000 deadbeef")) == []
    assert peer.take() == wire("00 02 0002 00000000 deadbeef")


def test_pings_count_up_and_their_answers_are_told() -> None:
    peer = client()
    assert (peer.ping(), peer.ping()) == (0, 1)
    assert peer.take() == wire("00 02 0001 00000000 00000000  00 02 0001 00000000 00000001")
    assert events(peer, wire("00 02 0002 00000000 00000001")) == [PongReceived(1)]


def test_who_goes_away_says_so_once_and_refuses_streams() -> None:
    peer = server()
    peer.go_away()
    peer.go_away()
    assert peer.take() == wire("00 03 0000 00000000 00000000")
    assert events(peer, data(1, b"hello", SYN), frame(WINDOW, SYN, 3, 0)) == []
    assert peer.take() == wire("00 01 0008 00000001 00000000  00 01 0008 00000003 00000000")


def test_a_go_away_of_the_other_side_is_told() -> None:
    peer = client()
    assert events(peer, wire("00 03 0000 00000000 00000000")) == [GoneAway()]


def test_who_closes_the_session_goes_away() -> None:
    peer = client()
    peer.open_stream()
    peer.take()
    peer.close()
    peer.close()
    assert peer.take() == wire("00 03 0000 00000000 00000000")
    assert peer.stream_count == 0

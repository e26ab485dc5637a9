"""Windows, limits and ends of streams."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.yamux.config import YamuxConfig
from bridge.yamux.events import DataReceived, GoneAway, StreamEnded, StreamOpened, StreamReset, WindowOpened
from bridge.yamux.failures import SessionFailed
from tests.yamux.wires import (
    ACK,
    AWAY,
    DATA,
    FIN,
    INITIAL,
    KIB,
    PING,
    RST,
    SYN,
    WINDOW,
    client,
    data,
    events,
    failure,
    frame,
    frames,
    server,
)


def test_a_window_is_opened_again_when_half_of_it_was_consumed() -> None:
    peer = server()
    got = events(peer, data(1, bytes(INITIAL), SYN))
    peer.accept(1)
    assert list(frames(peer.take())) == [(WINDOW, ACK, 1, 0, b"")]
    assert sum(len(event.data) for event in got if isinstance(event, DataReceived)) == INITIAL
    peer.consumed(1, INITIAL // 2 - 1)
    assert peer.take() == b""
    peer.consumed(1, 1)
    assert list(frames(peer.take())) == [(WINDOW, 0, 1, INITIAL // 2, b"")]
    assert len(events(peer, data(1, bytes(INITIAL // 2)))) == 1
    _, failed = failure(peer, data(1, b"x"))
    assert failed.reason == "WINDOW_EXCEEDED"


def test_data_is_passed_on_before_its_frame_is_complete() -> None:
    peer = server()
    whole = data(1, b"abcdef", SYN | FIN)
    assert events(peer, whole[:14]) == [StreamOpened(1), DataReceived(1, b"ab")]
    assert events(peer, whole[14:17]) == [DataReceived(1, b"cde")]
    assert events(peer, whole[17:]) == [DataReceived(1, b"f"), StreamEnded(1)]


def test_no_more_than_the_window_can_be_sent() -> None:
    peer = client()
    peer.open_stream()
    peer.send(1, bytes(INITIAL))
    assert peer.window(1) == 0
    with pytest.raises(BridgeError, match="ask for the window") as caught:
        peer.send(1, b"x")
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert events(peer, frame(WINDOW, 0, 1, 10)) == [WindowOpened(1)]
    assert peer.window(1) == 10


def test_nothing_can_be_sent_in_a_finished_stream() -> None:
    peer = client()
    peer.open_stream()
    peer.finish(1)
    assert peer.window(1) == 0
    with pytest.raises(BridgeError, match="window"):
        peer.send(1, b"x")


def test_data_behind_the_end_of_a_stream_is_thrown_away() -> None:
    peer = server()
    got = events(peer, frame(WINDOW, SYN | FIN, 1, 0), data(1, b"late"), frame(PING, SYN, 0, 1))
    assert got == [StreamOpened(1), StreamEnded(1)]
    assert list(frames(peer.take())) == [(PING, ACK, 0, 1, b"")]


def test_frames_of_a_stream_that_is_over_are_ignored() -> None:
    peer = client()
    peer.open_stream()
    peer.reset(1)
    peer.take()
    late = [data(1, b"late"), frame(WINDOW, 0, 1, 5), frame(WINDOW, FIN, 1, 0), frame(WINDOW, RST, 1, 0)]
    assert events(peer, *late, data(99, bytes(INITIAL + 1)), data(1, b"later")) == []
    assert peer.take() == b""


def test_a_stream_that_is_reset_in_the_middle_of_a_frame_has_no_more_events() -> None:
    peer = server()
    whole = data(1, b"abcdef", SYN | FIN)
    events(peer, whole[:14])
    peer.reset(1)
    assert events(peer, whole[14:]) == []
    assert peer.stream_count == 0


def test_a_released_stream_has_no_more_events_and_takes_no_more_than_its_window() -> None:
    peer = server()
    whole = data(1, b"abcdef", SYN)
    events(peer, whole[:14])
    peer.accept(1)
    peer.take()
    peer.release(1)
    assert list(frames(peer.take())) == [(WINDOW, FIN, 1, 0, b"")]
    assert events(peer, whole[14:], data(1, bytes(INITIAL - 6))) == []
    peer.consumed(1, INITIAL)
    assert peer.take() == b""
    assert peer.stream_count == 1
    assert events(peer, frame(DATA, FIN, 1, 0)) == []
    assert peer.stream_count == 0


def test_streams_over_the_backlog_are_refused_until_one_is_accepted() -> None:
    peer = server(YamuxConfig(backlog=2))
    opened = events(peer, *(frame(WINDOW, SYN, number, 0) for number in (1, 3, 5)))
    assert opened == [StreamOpened(1), StreamOpened(3)]
    assert list(frames(peer.take())) == [(WINDOW, RST, 5, 0, b"")]
    peer.accept(1)
    assert events(peer, frame(WINDOW, SYN, 7, 0)) == [StreamOpened(7)]
    peer.reset(3)
    assert events(peer, frame(WINDOW, SYN, 9, 0)) == [StreamOpened(9)]


def test_streams_over_the_limit_are_refused_until_one_is_over() -> None:
    peer = server(YamuxConfig(max_streams=1))
    events(peer, frame(WINDOW, SYN, 1, 0))
    peer.accept(1)
    assert events(peer, frame(WINDOW, SYN, 3, 0)) == []
    assert events(peer, frame(WINDOW, RST, 1, 0), frame(WINDOW, SYN, 5, 0)) == [StreamReset(1), StreamOpened(5)]


def test_streams_that_are_reset_before_they_are_accepted_do_not_fill_the_backlog() -> None:
    peer = server(YamuxConfig(backlog=1))
    for number in range(1, 100, 2):
        got = events(peer, frame(WINDOW, SYN, number, 0), frame(WINDOW, RST, number, 0))
        assert got == [StreamOpened(number), StreamReset(number)]
    assert peer.stream_count == 0


def test_streams_that_were_accepted_and_are_over_make_no_room_in_the_backlog() -> None:
    peers = server(YamuxConfig(backlog=1)), client(YamuxConfig(backlog=1))
    for peer in peers:
        events(peer, frame(WINDOW, SYN, (number := 1 if peer is peers[0] else 2), 0))
        peer.accept(number)
        ours = peer.open_stream()
        events(peer, frame(WINDOW, ACK, ours, 0))
        peer.reset(number)
        peer.reset(ours)
        assert events(peer, *(frame(WINDOW, SYN, number + more, 0) for more in (2, 4))) == [StreamOpened(number + 2)]
        peer.open_stream()
        assert not peer.can_open


def test_a_released_stream_may_be_reset_by_the_other_side() -> None:
    peer = client()
    peer.open_stream()
    peer.release(1)
    assert events(peer, frame(WINDOW, RST, 1, 0)) == []
    assert peer.stream_count == 0


@pytest.mark.parametrize("number", [0, 1])
def test_a_client_refuses_streams_with_numbers_of_its_own(number: int) -> None:
    _, failed = failure(client(), frame(WINDOW, SYN, number, 0))
    assert failed.reason == "BAD_STREAM_ID"


def test_no_more_streams_can_wait_to_be_accepted_than_the_backlog() -> None:
    peer = client(YamuxConfig(backlog=1))
    peer.open_stream()
    assert not peer.can_open
    with pytest.raises(BridgeError, match="wait for one of them") as caught:
        peer.open_stream()
    assert caught.value.reason == "TOO_MANY_UNACCEPTED"
    events(peer, frame(WINDOW, ACK, 1, 0))
    assert peer.open_stream() == 3
    events(peer, frame(WINDOW, RST, 3, 0))
    assert peer.open_stream() == 5
    peer.reset(5)
    assert peer.can_open


def test_an_acceptance_counts_once() -> None:
    peer = client(YamuxConfig(backlog=1))
    peer.open_stream()
    events(peer, *[frame(WINDOW, ACK, 1, 0)] * 3)
    peer.open_stream()
    assert not peer.can_open


def test_no_stream_is_opened_after_a_go_away_and_those_that_are_open_go_on() -> None:
    peer = client()
    peer.open_stream()
    assert events(peer, frame(AWAY, 0, 0, 0)) == [GoneAway()]
    with pytest.raises(BridgeError, match="takes no more streams") as caught:
        peer.open_stream()
    assert caught.value.reason == "GONE_AWAY"
    peer.take()
    peer.send(1, b"x")
    assert list(frames(peer.take())) == [(DATA, 0, 1, 1, b"x")]
    assert events(peer, data(1, b"y")) == [DataReceived(1, b"y")]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x01" + bytes(11), "BAD_VERSION"),
        (b"HTTP/1.1 400 Bad Request\r\n", "BAD_VERSION"),
        (frame(4, 0, 0, 0), "BAD_TYPE"),
        (frame(DATA, 16, 1, 0), "BAD_FLAGS"),
        (frame(WINDOW, SYN, 2, 0), "BAD_STREAM_ID"),
        (frame(WINDOW, SYN, 0, 0), "BAD_STREAM_ID"),
        (data(0, b"x"), "BAD_STREAM_ID"),
        (frame(PING, SYN, 1, 0), "BAD_STREAM_ID"),
        (frame(AWAY, 0, 1, 0), "BAD_STREAM_ID"),
        (frame(WINDOW, SYN, 1, 0) * 2, "DUPLICATE_STREAM"),
        (frame(WINDOW, SYN | FIN, 1, 0) + frame(WINDOW, FIN, 1, 0), "UNEXPECTED_FIN"),
        (frame(DATA, SYN, 1, INITIAL + 1), "WINDOW_EXCEEDED"),
        (frame(DATA, SYN, 1, 2**32 - 1), "WINDOW_EXCEEDED"),
        (frame(WINDOW, SYN, 1, 2**32 - 1), "WINDOW_OVERFLOW"),
    ],
)
def test_a_violation_ends_the_session_and_the_other_side_is_told(sent: bytes, reason: str) -> None:
    peer = server()
    _, failed = failure(peer, sent)
    assert (failed.code, failed.reason) == (Code.DATA_LOSS, reason)
    assert list(frames(peer.take()))[-1] == (AWAY, 0, 0, 1, b"")
    for use in (peer.open_stream, peer.check, lambda: events(peer, b"")):
        with pytest.raises(SessionFailed) as caught:
            use()
        assert caught.value is failed
    peer.close()
    assert (peer.take(), peer.stream_count, peer.deadline) == (b"", 0, None)


@pytest.mark.parametrize(
    "asked", [frame(PING, SYN, 0, 1), frame(WINDOW, SYN, 1, 0)], ids=["pings", "streams that are refused"]
)
def test_who_asks_and_does_not_read_breaks_the_protocol(asked: bytes) -> None:
    peer = server(YamuxConfig(max_unsent_replies=3))
    peer.go_away()
    peer.take()
    events(peer, asked * 3)
    peer.take()
    events(peer, asked * 3)
    _, failed = failure(peer, asked)
    assert (failed.code, failed.reason) == (Code.RESOURCE_EXHAUSTED, "REPLY_FLOOD")


@pytest.mark.parametrize("answer", ["accept", "reset"])
def test_who_opens_streams_and_does_not_read_that_they_are_taken_breaks_the_protocol(answer: str) -> None:
    peer = server(YamuxConfig(max_unsent_replies=3))
    for stream_id in (1, 3, 5):
        events(peer, frame(WINDOW, SYN, stream_id, 0))
        getattr(peer, answer)(stream_id)
        events(peer, frame(WINDOW, RST, stream_id, 0))
    _, failed = failure(peer, frame(WINDOW, SYN, 7, 0))
    assert (failed.code, failed.reason) == (Code.RESOURCE_EXHAUSTED, "REPLY_FLOOD")


@pytest.mark.parametrize(
    ("code", "reason"), [(1, "PEER_PROTOCOL_ERROR"), (2, "PEER_INTERNAL_ERROR"), (77, "PEER_INTERNAL_ERROR")]
)
def test_a_go_away_with_an_error_ends_the_session(code: int, reason: str) -> None:
    peer = client()
    peer.open_stream()
    peer.take()
    _, failed = failure(peer, frame(AWAY, 0, 0, code))
    assert (failed.code, failed.reason) == (Code.UNAVAILABLE, reason)
    assert peer.take() == b""


def test_events_before_a_violation_are_told() -> None:
    seen: list[object] = []
    with pytest.raises(SessionFailed):
        seen.extend(events(server(), data(1, b"x", SYN) + b"junk" * 3))
    peer = server()
    iterator = peer.receive(data(1, b"x", SYN) + b"junk" * 3)
    assert [next(iterator), next(iterator)] == [StreamOpened(1), DataReceived(1, b"x")]
    with pytest.raises(SessionFailed):
        next(iterator)


def test_a_session_that_is_closed_while_it_reads_says_nothing_more() -> None:
    peer = server()
    seen = []
    for event in peer.receive(data(1, b"x", SYN) + data(1, b"y")):
        seen.append(event)
        peer.close()
    assert seen == [StreamOpened(1)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 256 * KIB - 1},
        {"window": 2**32},
        {"backlog": 0},
        {"max_streams": 0},
        {"keepalive_interval": -1.0},
        {"ping_timeout": 0.0},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ha(ve|s) to be"):
        YamuxConfig(**wrong)

"""What happens when the other side is silent."""

from __future__ import annotations

import pytest

from bridge.errors import Code
from bridge.yamux.config import YamuxConfig
from bridge.yamux.failures import SessionFailed
from tests.yamux.wires import ACK, FIN, PING, RST, SYN, WINDOW, Clock, client, events, frame, frames

QUIET = YamuxConfig(keepalive_interval=0, open_timeout=20, close_timeout=50)


def test_pings_are_sent_while_they_are_answered() -> None:
    clock = Clock()
    peer = client(YamuxConfig(keepalive_interval=30, ping_timeout=10), clock)
    for value in range(3):
        assert peer.deadline == clock.now + 30
        peer.tick()
        assert peer.take() == b""
        clock.now += 30
        peer.tick()
        assert list(frames(peer.take())) == [(PING, SYN, 0, value, b"")]
        assert peer.deadline == clock.now + 10
        clock.now += 9
        peer.tick()
        events(peer, frame(PING, ACK, 0, value))


def test_a_ping_that_is_not_answered_ends_the_session() -> None:
    clock = Clock()
    peer = client(YamuxConfig(keepalive_interval=30, ping_timeout=10), clock)
    clock.now += 30
    peer.tick()
    clock.now += 10
    with pytest.raises(SessionFailed, match="does not answer a ping") as caught:
        peer.tick()
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "KEEPALIVE_TIMEOUT")
    assert (peer.failure, peer.deadline) == (caught.value, None)
    peer.tick()


def test_whatever_comes_is_a_sign_of_life() -> None:
    clock = Clock()
    peer = client(YamuxConfig(keepalive_interval=30, ping_timeout=10), clock)
    clock.now += 30
    peer.tick()
    clock.now += 9
    events(peer, b"\x00")
    clock.now += 29
    peer.tick()
    assert peer.failure is None


def test_nothing_is_due_where_nothing_is_waited_for() -> None:
    peer = client(QUIET)
    assert peer.deadline is None


def test_a_stream_that_is_not_accepted_in_time_ends_the_session() -> None:
    clock = Clock()
    peer = client(QUIET, clock)
    for number in (1, 3, 5):
        assert peer.open_stream() == number
        clock.now += 1
    events(peer, frame(WINDOW, ACK, 1, 0), frame(WINDOW, RST, 3, 0))
    assert peer.deadline == clock.now - 1 + 20
    clock.now = peer.deadline
    with pytest.raises(SessionFailed) as caught:
        peer.tick()
    assert caught.value.reason == "STREAM_OPEN_TIMEOUT"


def test_a_released_stream_that_the_other_side_does_not_end_in_time_is_reset() -> None:
    clock = Clock()
    peer = client(QUIET, clock)
    for number in (1, 3, 5):
        peer.open_stream()
        events(peer, frame(WINDOW, ACK, number, 0))
        peer.release(number)
    events(peer, frame(WINDOW, FIN, 3, 0))
    peer.take()
    assert peer.deadline == clock.now + 50
    clock.now += 49
    peer.tick()
    assert peer.take() == b""
    clock.now += 1
    peer.tick()
    assert list(frames(peer.take())) == [(WINDOW, RST, 1, 0, b""), (WINDOW, RST, 5, 0, b"")]
    assert peer.stream_count == 0
    assert not peer.deadline


@pytest.mark.parametrize("first", ["we", "the other side"])
def test_a_stream_that_both_sides_have_ended_is_not_waited_for(first: str) -> None:
    peer = client(QUIET)
    peer.open_stream()
    events(peer, frame(WINDOW, ACK, 1, 0))
    if first == "we":
        peer.release(1)
        events(peer, frame(WINDOW, FIN, 1, 0))
    else:
        events(peer, frame(WINDOW, FIN, 1, 0))
        peer.release(1)
    assert (peer.stream_count, peer.deadline) == (0, None)


def test_a_stream_that_is_only_finished_may_be_read_for_ever() -> None:
    peer = client(QUIET)
    peer.open_stream()
    events(peer, frame(WINDOW, ACK, 1, 0))
    peer.finish(1)
    assert peer.deadline is None

"""Whatever comes, a peer makes events of it or ends the session; how it was cut does not matter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.yamux.config import YamuxConfig
from bridge.yamux.events import DataReceived, Event, StreamOpened
from bridge.yamux.failures import SessionFailed
from bridge.yamux.peer import Peer
from tests.yamux.wires import ACK, DATA, FIN, QUICK, RST, SYN, WINDOW, client, cut, frame, server

CONFIG = YamuxConfig(backlog=3, max_streams=5, max_unsent_replies=6)

FLAGS = st.sampled_from([0, 0, SYN, ACK, FIN, RST, SYN | FIN, ACK | FIN, SYN | RST]) | st.integers(0, 17)
NUMBERS = st.sampled_from([1, 1, 3, 5, 7, 2, 4, 0])


@st.composite
def any_frame(draw: st.DrawFn) -> bytes:
    """A frame, most often a right one."""
    kind = draw(st.sampled_from([DATA, DATA, WINDOW, WINDOW, 2, 3, 4]))
    if kind == DATA:
        payload = draw(st.binary(max_size=30))
        return frame(DATA, draw(FLAGS), draw(NUMBERS), len(payload), payload)
    length = draw(st.integers(0, 3) | st.sampled_from([2**32 - 1, 2**18]))
    return frame(kind, draw(FLAGS), draw(NUMBERS if kind == WINDOW else st.sampled_from([0, 0, 1])), length)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Frames of which some bytes were changed, taken out or put in."""
    stream = bytearray(b"".join(draw(st.lists(any_frame(), max_size=12))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(stream)))
        stream[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(stream)


STREAMS = damaged() | st.lists(any_frame(), max_size=20).map(b"".join) | st.binary(max_size=80)


def drive(peer: Peer, pieces: list[bytes]) -> tuple[list[Event], str]:
    """What happens, with data of a stream put together, and why the session ends, if it does."""
    seen: list[Event] = []
    try:
        for piece in pieces:
            for event in peer.receive(piece):
                last = seen[-1] if seen else None
                if (
                    isinstance(event, DataReceived)
                    and isinstance(last, DataReceived)
                    and last.stream_id == event.stream_id
                ):
                    seen[-1] = DataReceived(event.stream_id, last.data + event.data)
                else:
                    seen.append(event)
    except SessionFailed as failed:
        return seen, failed.reason
    return seen, ""


def make(is_client: bool) -> Peer:
    peer = client(CONFIG) if is_client else server(CONFIG)
    peer.open_stream()
    peer.open_stream()
    peer.take()
    return peer


@QUICK
@given(stream=STREAMS, places=st.lists(st.integers(0, 10_000), max_size=12), is_client=st.booleans())
def test_only_violations_are_raised_and_pieces_mean_what_the_whole_means(
    stream: bytes, places: list[int], is_client: bool
) -> None:
    whole, parts = make(is_client), make(is_client)
    expected = drive(whole, [stream])
    assert drive(parts, cut(stream, places)) == expected
    assert parts.take() == whole.take()
    opened = sum(isinstance(event, StreamOpened) for event in expected[0])
    assert whole.stream_count <= min(opened, CONFIG.backlog) + 2


@QUICK
@given(stream=STREAMS, acts=st.lists(st.sampled_from(["accept", "reset", "release", "finish", "consumed"])))
def test_whatever_its_owner_does_meanwhile_only_violations_are_raised(stream: bytes, acts: list[str]) -> None:
    peer, todo = make(True), list(acts)
    try:
        for event in peer.receive(stream):
            number = getattr(event, "stream_id", None)
            act = todo.pop() if todo else "consumed"
            if number is not None:
                size = len(event.data) if isinstance(event, DataReceived) else 0
                getattr(peer, act)(*((number, size) if act == "consumed" else (number,)))
    except SessionFailed:
        assert peer.failure is not None
    assert len(peer.take()) <= 12 * (len(stream) // 12 + 1) * 3

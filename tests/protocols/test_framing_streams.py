"""Whatever comes, however it is cut: texts, or one violation; in linear time and little more than its own memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from typing import Any, Self, SupportsIndex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.protocols import content_length
from bridge.protocols.content_length import ContentLength
from bridge.protocols.framing import Framing
from bridge.protocols.limits import ProtocolLimits
from tests.protocols.wire import FRAMINGS, QUICK, MakeFraming, cut, each_byte, framed, heard

LIMITS = ProtocolLimits(max_frame_bytes=200, max_header_bytes=60)

pytestmark = pytest.mark.parametrize("make", FRAMINGS)

LINES = st.binary(max_size=40).filter(lambda text: b"\n" not in text and b"\r" not in text and text.strip())
PLACES = st.lists(st.integers(0, 10_000), max_size=20)
WORDS = [
    b"Content-Length",
    b"content-length",
    b":",
    b" ",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"2",
    b"0",
    b"-",
    b"{}",
]
JUNK = st.binary(max_size=300) | st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=60).map(b"".join)


def verdict(make: MakeFraming, pieces: Iterable[bytes]) -> tuple[list[bytes], bool, bool]:
    """Texts, whether there was a violation, and whether the end cuts a message."""
    framing = make(LIMITS)
    texts, violation = heard(framing, pieces)
    return texts, violation is not None, framing.at_end()


@QUICK
@given(texts=st.lists(LINES, max_size=8), places=PLACES)
def test_F01_texts_come_out_as_they_went_in_however_the_stream_is_cut(
    make: MakeFraming, texts: list[bytes], places: list[int]
) -> None:
    assert verdict(make, cut(framed(make(), *texts), places)) == (texts, False, True)


@QUICK
@given(stream=JUNK, places=PLACES)
@example(stream=b"Content-Length: 2\r\n\r\n{}Content-Length: 9\n\n", places=[])
def test_F13_bytes_give_the_same_however_they_are_cut(make: MakeFraming, stream: bytes, places: list[int]) -> None:
    whole = verdict(make, [stream])
    assert verdict(make, cut(stream, places)) == whole
    assert verdict(make, each_byte(stream)) == whole


@QUICK
@given(texts=st.lists(LINES, min_size=1, max_size=5), data=st.data())
def test_F04_a_stream_with_a_changed_byte_gives_the_same_however_it_is_cut(
    make: MakeFraming, texts: list[bytes], data: st.DataObject
) -> None:
    stream = bytearray(framed(make(), *texts))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(stream)
    assert verdict(make, each_byte(changed)) == verdict(make, [changed])
    texts_heard, _, _ = verdict(make, [changed])
    assert sum(map(len, texts_heard)) <= len(changed)


class Counting(bytearray):
    """A buffer that counts the bytes that are put into it and moved inside of it."""

    moved = 0

    def __iadd__(self, more: Any) -> Self:  # type: ignore[misc]
        Counting.moved += len(more)
        return super().__iadd__(more)

    def __delitem__(self, place: SupportsIndex | slice[Any, Any, Any]) -> None:
        before = len(self)
        super().__delitem__(place)
        if len(self) < before:
            Counting.moved += len(self)  # at worst, all that is left moves to the front


class CountingPattern:
    """A pattern that counts the bytes it looks at."""

    looked = 0

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def search(self, source: bytes, begin: int, end: int = 1 << 62) -> Any:
        found = self._pattern.search(source, begin, end)
        CountingPattern.looked += (found.end() if found else min(end, len(source))) - begin
        return found


def counted(make: MakeFraming) -> Framing:
    """A framing that counts."""
    framing = make()
    framing._buffer = Counting()
    Counting.moved = CountingPattern.looked = 0
    return framing


@pytest.mark.parametrize("size", [1, 1000])
def test_F10_the_work_is_in_proportion_to_the_bytes_however_small_the_pieces(
    make: MakeFraming, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_BLANK_LINE", "_CONTROL"):
        monkeypatch.setattr(content_length, name, CountingPattern(getattr(content_length, name)))
    texts = [b"x" * 50_000, *[b"{}"] * 500, b"y" * 50_000]
    stream = framed(make(), *texts)
    if make is ContentLength:
        stream = b"X: " + b"x" * 7000 + b"\r\n" + stream
    framing = counted(make)
    assert heard(framing, [stream[place : place + size] for place in range(0, len(stream), size)]) == (texts, None)
    assert Counting.moved <= 4 * len(stream)
    assert CountingPattern.looked <= 4 * len(stream)


def test_F10_a_large_text_takes_twice_its_own_memory_at_most(make: MakeFraming) -> None:
    size = 20_000_000
    text = b"x" * size
    stream = framed(make(), text)
    pieces = [stream[place : place + 65536] for place in range(0, len(stream), 65536)]
    framing = make()
    tracemalloc.start()
    try:
        (heard_text,), _ = heard(framing, pieces)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard_text == text
    assert peak < 2.2 * size  # the buffer has an eighth to spare
    assert left < 1.1 * size


def test_F10_what_small_messages_leave_behind_is_nothing(make: MakeFraming) -> None:
    stream = framed(make(), b"{}") * 1000
    framing = make()
    assert len(heard(framing, [stream])[0]) == 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            for _text in framing.feed(stream[:-1]):
                pass
            assert list(framing.feed(stream[-1:])) == [b"{}"]
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()

"""How what a process prints is cut into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.goplugin.process.pipe_reader import LineSplitter

LIMIT = 8
text = st.text(alphabet="ab\r\n", max_size=60).map(str.encode)


def split(*data: bytes) -> list[tuple[bytes, bool]]:
    """What a splitter makes of data that comes in so many pieces."""
    found: list[tuple[bytes, bool]] = []
    splitter = LineSplitter(lambda line, is_whole: found.append((line, is_whole)), LIMIT)
    for piece in data:
        splitter.feed(piece)
    splitter.end()
    return found


def test_lines_end_as_on_unix_or_dos_and_the_last_one_may_have_no_end() -> None:
    assert split(b"one\r\n\ntwo\rx\nlast") == [(b"one", True), (b"", True), (b"two\rx", True), (b"last", True)]


def test_longest_line_is_whole_and_a_longer_one_comes_in_pieces() -> None:
    assert split(b"12345678\nx") == [(b"12345678", True), (b"x", True)]
    assert split(b"123456789\nx") == [(b"12345678", False), (b"9", False), (b"x", True)]


@given(text, st.data())
def test_lines_are_the_same_however_they_come(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    assert split(data[:cut], data[cut:]) == split(data)


@given(text)
def test_nothing_is_lost_but_the_ends_of_lines(data: bytes) -> None:
    assert b"".join(line for line, _ in split(data)).replace(b"\r", b"") == data.replace(b"\n", b"").replace(b"\r", b"")

"""What is held of what a plugin printed, and what is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from bridge.goplugin.output.output_buffer import LATE, RUNS, STDERR, STDOUT, STUCK, UNCLAIMED, OutputBuffer

TIMEOUT = 10.0


def take_all(buffer: OutputBuffer, limit: int = 1000) -> list[tuple[int, bytes]]:
    taken = []
    while part := buffer.front(limit):
        buffer.discard(part[0], len(part[1]))
        taken.append(part)
    return taken


@contextmanager
def putting(buffer: OutputBuffer, channel: int, data: bytes) -> Iterator[threading.Event]:
    """Puts in a thread; the event tells when that is done."""
    done = threading.Event()

    def put() -> None:
        buffer.put(channel, data)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield done
    finally:
        buffer.hurry()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_the_order_of_both_channels_is_kept() -> None:
    buffer = OutputBuffer()
    for channel, data in ((1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")):
        buffer.put(channel, data)
    assert take_all(buffer) == [(STDOUT, b"ab"), (STDERR, b"c"), (STDOUT, b"d")]
    assert not buffer


def test_parts_are_no_longer_than_the_limit() -> None:
    buffer = OutputBuffer()
    buffer.put(1, b"abcdefg")
    assert take_all(buffer, 3) == [(1, b"abc"), (1, b"def"), (1, b"g")]


def test_what_is_not_discarded_is_given_again() -> None:
    buffer = OutputBuffer()
    buffer.put(1, b"abc")
    assert buffer.front(2) == buffer.front(2) == (1, b"ab")
    buffer.discard(1, 2)
    assert buffer.front(2) == (1, b"c")


def test_what_nobody_takes_is_dropped_from_the_end() -> None:
    buffer = OutputBuffer(size=4)
    buffer.put(1, b"abc")
    buffer.put(1, b"def")
    buffer.put(2, b"x")
    assert take_all(buffer) == [(1, b"abcd"), (2, b"x")]
    assert buffer.take_lost() == {(1, UNCLAIMED): 2}
    assert buffer.take_lost() == {}


def test_who_prints_waits_for_who_takes() -> None:
    buffer = OutputBuffer(size=4, patience=TIMEOUT)
    buffer.claim(True)
    with putting(buffer, 1, b"abcdefghij") as done:
        taken = b""
        while len(taken) < 10:
            assert not (done.is_set() and not buffer)
            for _, data in take_all(buffer):
                taken += data
        assert done.wait(TIMEOUT)
    assert taken == b"abcdefghij"
    assert buffer.take_lost() == {}


def test_patience_ends_and_comes_back_when_something_is_taken() -> None:
    buffer = OutputBuffer(size=4, patience=0.01)
    buffer.claim(True)
    buffer.put(1, b"abcdef")
    assert buffer.take_lost() == {(1, STUCK): 2}
    buffer._patience = TIMEOUT  # whoever is stuck does not wait at all
    buffer.put(1, b"g")
    assert buffer.take_lost() == {(1, STUCK): 1}
    buffer.discard(1, 1)
    with putting(buffer, 1, b"hi") as done:
        assert not done.wait(0.01)
        assert take_all(buffer)
        assert done.wait(TIMEOUT)
    assert b"".join(data for _, data in take_all(buffer)) in (b"i", b"")
    assert buffer.take_lost() == {}


def test_nobody_waits_for_who_has_gone_or_when_all_ends() -> None:
    for release, why in ((lambda b: b.claim(False), UNCLAIMED), (OutputBuffer.hurry, LATE)):
        buffer = OutputBuffer(size=4, patience=10 * TIMEOUT)
        buffer.claim(True)
        with putting(buffer, 1, b"abcdef") as done:
            assert not done.wait(0.01)
            release(buffer)
            assert done.wait(TIMEOUT)
            assert buffer.take_lost() == {(1, why): 2}


def test_a_full_channel_does_not_stop_the_other() -> None:
    buffer = OutputBuffer(size=4, patience=TIMEOUT)
    buffer.claim(True)
    with putting(buffer, 1, b"abcdef") as done:
        assert not done.wait(0.01)
        buffer.put(2, b"xyz")
        assert not done.is_set()


def test_it_tells_once_that_there_is_something() -> None:
    told: list[bool] = []
    buffer = OutputBuffer(size=4)
    buffer.notify = lambda: told.append(True)
    buffer.put(1, b"ab")
    buffer.put(2, b"ab")
    assert len(told) == 1
    take_all(buffer)
    buffer.put(1, b"abcde")
    buffer.put(1, b"f")
    assert len(told) == 3  # something to take, and something lost


def test_what_is_left_is_counted() -> None:
    buffer = OutputBuffer()
    buffer.put(1, b"abc")
    part = buffer.front(2)
    assert part is not None
    buffer.drop_all()
    buffer.discard(part[0], len(part[1]))  # it was on its way
    assert buffer.take_lost() == {(1, LATE): 3}
    assert not buffer
    assert buffer.front(1) is None


def test_more_changes_of_channel_than_are_remembered_lose_nothing() -> None:
    buffer = OutputBuffer()
    for _ in range(RUNS):
        buffer.put(1, b"a")
        buffer.put(2, b"b")
    assert len(buffer._runs) == RUNS
    taken = take_all(buffer)
    assert [channel for channel, _ in taken[:4]] == [1, 2, 1, 2]
    assert b"".join(data for channel, data in taken if channel == 1) == b"a" * RUNS
    assert b"".join(data for channel, data in taken if channel == 2) == b"b" * RUNS


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=9)), st.integers(min_value=1, max_value=5)),
        max_size=60,
    )
)
def test_each_channel_is_what_was_put_but_for_what_was_lost(steps: list[tuple[int, bytes] | int]) -> None:
    buffer = OutputBuffer(size=20)
    expected: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    got: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    for step in steps:
        if isinstance(step, tuple):
            channel, data = step
            buffer.put(channel, data)
            lost = buffer.take_lost().get((channel, UNCLAIMED), 0)
            expected[channel] += data[: len(data) - lost]
        elif part := buffer.front(step):
            got[part[0]] += part[1]
            buffer.discard(part[0], len(part[1]))
    for channel, data in take_all(buffer):
        got[channel] += data
    assert got == expected

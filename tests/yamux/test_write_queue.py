"""The marks of what was written and waits."""

from __future__ import annotations

import pytest

from bridge.yamux.write_queue import WriteQueue


def test_a_writer_waits_above_the_upper_mark_and_goes_on_at_the_lower() -> None:
    calls: list[str] = []
    queue = WriteQueue(lambda: calls.append("pause"), lambda: calls.append("resume"))
    queue.set_limits(high=4, low=2)
    queue.put(b"abcd")
    assert calls == []
    queue.put(b"e")
    queue.put(b"f")
    assert calls == ["pause"]
    assert (bytes(queue.take(3)), queue.size) == (b"abc", 3)
    queue.resume_if_low()
    assert calls == ["pause"]
    assert bytes(queue.take(3)) == b"d"
    queue.resume_if_low()
    queue.resume_if_low()
    assert (calls, queue.size) == (["pause", "resume"], 2)
    queue.set_limits(high=1, low=None)
    assert calls == ["pause", "resume", "pause"]


@pytest.mark.parametrize(("marks", "limits"), [({}, (16384, 65536)), ({"low": 3}, (3, 12)), ({"high": 0}, (0, 0))])
def test_marks_that_are_not_given_follow_those_that_are(marks: dict[str, int], limits: tuple[int, int]) -> None:
    queue = WriteQueue(lambda: None, lambda: None)
    queue.set_limits(marks.get("high"), marks.get("low"))
    assert queue.limits == limits

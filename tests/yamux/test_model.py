"""Two peers, between which bytes arrive in pieces of any size, against what a pair of pipes would do."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from bridge.yamux.config import YamuxConfig
from bridge.yamux.events import (
    DataReceived,
    Event,
    PongReceived,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
)
from bridge.yamux.peer import Peer
from tests.yamux.wires import INITIAL, Clock

CONFIG = YamuxConfig(backlog=4, window=INITIAL)
CHUNK = 100_000


class End:
    """One end of one stream: what its owner knows of it."""

    def __init__(self) -> None:
        self.sent = self.received = self.unconsumed = 0
        self.finished = self.ended = self.dead = False


class Side:
    """A peer, what its owner has done and has heard, and what is on its way from it."""

    def __init__(self, *, client: bool) -> None:
        self.peer = Peer(client=client, clock=Clock(), config=CONFIG)
        self.ends: dict[int, End] = {}
        self.unaccepted: list[int] = []
        self.pings: set[int] = set()
        self.wire = bytearray()

    def hear(self, event: Event, other: Side) -> None:
        match event:
            case StreamOpened(number):
                assert number not in self.ends
                self.ends[number] = End()
                self.unaccepted.append(number)
            case StreamAccepted(number):
                assert number not in other.unaccepted
            case DataReceived(number, data):
                end = self.ends[number]
                assert not end.dead
                assert not end.ended
                assert data == pattern(end.received, len(data))
                end.received += len(data)
                end.unconsumed += len(data)
            case WindowOpened(number):
                assert self.peer.window(number) or self.ends[number].finished
            case StreamEnded(number):
                end = self.ends[number]
                assert not end.dead
                assert end.received == other.ends[number].sent
                end.ended = True
            case StreamReset(number):
                assert other.ends[number].dead if number in other.ends else True
                self.ends[number].dead = True
                self.forget(number)
            case PongReceived(value):
                self.pings.remove(value)

    def forget(self, number: int) -> None:
        if number in self.unaccepted:
            self.unaccepted.remove(number)


def pattern(begin: int, size: int) -> bytes:
    """Bytes that count from 0 to 250, again and again."""
    begin %= 251
    return (bytes(range(251)) * (size // 251 + 2))[begin : begin + size]


class TwoPeers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sides = [Side(client=True), Side(client=False)]

    @rule(who=st.integers(0, 1))
    def open(self, who: int) -> None:
        side = self.sides[who]
        if side.peer.can_open:
            number = side.peer.open_stream()
            assert number % 2 == (who + 1) % 2
            side.ends[number] = End()

    @rule(who=st.integers(0, 1))
    def accept(self, who: int) -> None:
        side = self.sides[who]
        if side.unaccepted:
            side.peer.accept(side.unaccepted.pop(0))

    @rule(who=st.integers(0, 1), which=st.integers(0, 99), size=st.integers(1, CHUNK))
    def send(self, who: int, which: int, size: int) -> None:
        side, number = self.pick(who, which)
        end = side.ends.get(number)
        size = min(size, side.peer.window(number))
        if end is not None and size and not end.finished and number not in side.unaccepted:
            side.peer.send(number, pattern(end.sent, size))
            end.sent += size

    @rule(who=st.integers(0, 1), which=st.integers(0, 99), size=st.integers(1, INITIAL))
    def consume(self, who: int, which: int, size: int) -> None:
        side, number = self.pick(who, which)
        end = side.ends.get(number)
        if end is not None:
            size = min(size, end.unconsumed)
            side.peer.consumed(number, size)
            end.unconsumed -= size

    @rule(who=st.integers(0, 1), which=st.integers(0, 99))
    def finish(self, who: int, which: int) -> None:
        side, number = self.pick(who, which)
        if number in side.ends and number not in side.unaccepted:
            side.peer.finish(number)
            side.ends[number].finished = True

    @rule(who=st.integers(0, 1), which=st.integers(0, 99), hard=st.booleans())
    def give_up(self, who: int, which: int, hard: bool) -> None:
        side, number = self.pick(who, which)
        if number in side.ends:
            side.ends[number].dead = side.ends[number].finished = True
            side.forget(number)
            if hard:
                side.peer.reset(number)
            else:
                side.peer.release(number)

    @rule(who=st.integers(0, 1))
    def ping(self, who: int) -> None:
        side = self.sides[who]
        side.pings.add(side.peer.ping())

    @precondition(lambda self: any(side.wire or side.peer.unsent for side in self.sides))
    @rule(who=st.integers(0, 1), sizes=st.lists(st.integers(1, 40) | st.integers(1, 300_000), max_size=8))
    def carry(self, who: int, sizes: list[int]) -> None:
        for size in sizes:
            self.move(who, size)

    def move(self, who: int, size: int) -> int:
        sender, receiver = self.sides[who], self.sides[1 - who]
        sender.wire += sender.peer.take()
        piece = bytes(sender.wire[:size])
        del sender.wire[:size]
        for event in receiver.peer.receive(piece):
            receiver.hear(event, sender)
        return len(piece)

    def pick(self, who: int, which: int) -> tuple[Side, int]:
        side = self.sides[who]
        numbers = list(side.ends)
        return side, numbers[which % len(numbers)] if numbers else 0

    @invariant()
    def nobody_holds_more_than_a_window(self) -> None:
        for side in self.sides:
            assert all(end.unconsumed <= INITIAL for end in side.ends.values())
            assert len(side.unaccepted) <= CONFIG.backlog

    def teardown(self) -> None:
        """Everything arrives; and when all streams are ended, nothing of them is kept."""
        self.settle()
        for side, other in (self.sides, self.sides[::-1]):
            assert not side.pings
            for number, end in side.ends.items():
                far = other.ends.get(number)
                if far is not None and not end.dead and not far.dead:
                    assert (end.received, end.ended) == (far.sent, far.finished)
        for side in self.sides:
            for number in side.ends:
                side.peer.release(number)
        self.settle()
        assert [side.peer.stream_count for side in self.sides] == [0, 0]

    def settle(self) -> None:
        while self.move(0, 1 << 30) + self.move(1, 1 << 30):
            pass


def test_two_peers_are_a_pair_of_pipes_for_each_stream() -> None:
    run_state_machine_as_test(TwoPeers, settings=settings(max_examples=120, stateful_step_count=40, deadline=None))

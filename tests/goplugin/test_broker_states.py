"""What brokers keep in mind, without a connection between them."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from bridge.errors import BridgeError
from bridge.goplugin.brokering.addresses import Addresses
from bridge.goplugin.brokering.doors import Doors
from bridge.goplugin.brokering.knocks import Answer, Knocks
from bridge.goplugin.brokering.wire import ConnInfo, Knock

WELCOME = Knock(ack=True)


def offer(service_id: int, address: str = "/s") -> ConnInfo:
    return ConnInfo(service_id, "unix", address)


def answers(doors: Doors) -> list[tuple[int, str]]:
    """Whom the doors have answered, and with which error."""
    taken = doors.take()
    assert all(info.knock and info.knock.knock and info.knock.ack for info in taken)
    return [(info.service_id, info.knock.error) for info in taken if info.knock]


# Addresses


def test_an_address_goes_to_the_dial_that_waits_for_it() -> None:
    addresses = Addresses()
    assert addresses.expect(1, now=0) is None
    assert not addresses.came(offer(2), now=0)
    assert addresses.came(offer(1), now=0)
    assert not addresses.came(offer(1), now=0)


def test_an_address_waits_five_seconds_for_one_dial() -> None:
    addresses = Addresses()
    addresses.came(offer(1), now=0)
    addresses.came(offer(2), now=0)
    assert addresses.expect(1, now=4.9) == offer(1)
    assert addresses.expect(1, now=4.9) is None
    assert addresses.expect(2, now=5) is None


def test_a_second_address_does_not_replace_the_first() -> None:
    addresses = Addresses()
    addresses.came(offer(1, "/first"), now=0)
    addresses.came(offer(1, "/second"), now=1)
    assert addresses.expect(1, now=2) == offer(1, "/first")


def test_two_dials_cannot_wait_for_one_address() -> None:
    addresses = Addresses()
    addresses.expect(1, now=0)
    with pytest.raises(BridgeError) as caught:
        addresses.expect(1, now=0)
    assert caught.value.reason == "BROKER_ID_IN_USE"
    addresses.forget(1)
    assert addresses.expect(1, now=0) is None


def test_a_flood_of_addresses_leaves_those_that_came_first() -> None:
    addresses = Addresses(limit=3)
    for service_id in range(1, 1000):
        addresses.came(offer(service_id), now=0)
    assert len(addresses) == 3
    assert addresses.expect(3, now=0) == offer(3)
    addresses.clear()
    assert len(addresses) == 0


class AddressModel(RuleBasedStateMachine):
    """Against a list of what came when."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses, self.now = Addresses(limit=2), 0.0
        self.waiting: set[int] = set()
        self.kept: list[tuple[float, int]] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 2.5, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.kept = [(until, service_id) for until, service_id in self.kept if until > self.now]

    @rule(service_id=st.integers(1, 4))
    def came(self, service_id: int) -> None:
        awaited = self.addresses.came(offer(service_id), self.now)
        assert awaited == (service_id in self.waiting)
        self.waiting.discard(service_id)
        known = any(service_id == other for _, other in self.kept)
        if not awaited and not known and len(self.kept) < 2:
            self.kept.append((self.now + 5, service_id))

    @rule(service_id=st.integers(1, 4))
    def dial(self, service_id: int) -> None:
        if service_id in self.waiting:
            with pytest.raises(BridgeError):
                self.addresses.expect(service_id, self.now)
            return
        found = self.addresses.expect(service_id, self.now)
        if found is None:
            assert all(service_id != other for _, other in self.kept)
            self.waiting.add(service_id)
        else:
            assert found == offer(service_id)
            self.kept.remove(next(entry for entry in self.kept if entry[1] == service_id))

    @rule(service_id=st.integers(1, 4))
    def give_up(self, service_id: int) -> None:
        self.addresses.forget(service_id)
        self.waiting.discard(service_id)


def test_addresses_are_kept_as_in_the_model() -> None:
    run_state_machine_as_test(AddressModel, settings=settings(max_examples=80, stateful_step_count=25, deadline=None))


# Knocks


def test_an_answer_belongs_to_the_dial_that_waits() -> None:
    knocks = Knocks()
    assert knocks.knock(1) == ConnInfo(1, knock=Knock())
    assert knocks.answered(ConnInfo(2, knock=WELCOME)) is Answer.UNKNOWN
    assert knocks.answered(ConnInfo(1, knock=WELCOME)) is Answer.AWAITED
    assert knocks.answered(ConnInfo(1, knock=WELCOME)) is Answer.UNKNOWN
    assert len(knocks) == 0


def test_a_late_welcome_is_owed_a_stream_once_and_a_late_refusal_none() -> None:
    knocks = Knocks()
    for service_id in (1, 2):
        knocks.knock(service_id)
        knocks.give_up()
    assert knocks.answered(ConnInfo(1, knock=WELCOME)) is Answer.TOO_LATE
    assert knocks.answered(ConnInfo(1, knock=WELCOME)) is Answer.UNKNOWN
    assert knocks.answered(ConnInfo(2, knock=Knock(ack=True, error="no"))) is Answer.UNKNOWN
    assert len(knocks) == 0


def test_knocks_in_vain_are_forgotten_when_there_are_too_many() -> None:
    knocks = Knocks(limit=2)
    for service_id in (1, 2, 3):
        knocks.knock(service_id)
        knocks.give_up()
    assert knocks.answered(ConnInfo(1, knock=WELCOME)) is Answer.UNKNOWN
    assert knocks.answered(ConnInfo(3, knock=WELCOME)) is Answer.TOO_LATE


@pytest.mark.parametrize(
    ("info", "is_knock", "is_welcome"),
    [
        (ConnInfo(1, knock=Knock()), True, False),
        (ConnInfo(1, knock=Knock(ack=True)), False, True),
        (ConnInfo(1, knock=Knock(ack=True, error="no")), False, False),
        (ConnInfo(1, knock=Knock(knock=False, ack=True)), False, False),
        (ConnInfo(1, knock=Knock(knock=False)), False, False),
        (offer(1), False, False),
    ],
)
def test_knocks_and_welcomes_are_told_by_both_flags(info: ConnInfo, is_knock: bool, is_welcome: bool) -> None:
    assert ConnInfo.decode(info.encode()) == info
    assert (info.is_knock, info.is_welcome) == (is_knock, is_welcome)


def test_bytes_that_are_no_message_are_an_error() -> None:
    with pytest.raises(BridgeError) as caught:
        ConnInfo.decode(b"\xff\xff")
    assert caught.value.reason == "BROKER_MESSAGE"


# Doors


def test_a_knock_at_an_open_door_is_welcome_and_the_next_stream_goes_there() -> None:
    doors = Doors()
    doors.open(1, now=0)
    doors.knocked(1, now=0)
    assert answers(doors) == [(1, "")]
    assert doors.stream_came(now=0) == 1
    assert doors.stream_came(now=0) is None


def test_a_knock_waits_for_its_door() -> None:
    doors = Doors()
    doors.knocked(1, now=0)
    assert answers(doors) == []
    doors.open(1, now=3.9)
    assert answers(doors) == [(1, "")]


def test_a_knock_is_refused_before_who_knocks_gives_up() -> None:
    doors = Doors()
    doors.knocked(7, now=0)
    assert doors.deadline == 4
    doors.tick(now=4)
    assert answers(doors) == [(7, "no listener for id 7")]
    assert len(doors) == 0


def test_knocks_are_welcome_one_at_a_time_in_their_order() -> None:
    doors = Doors()
    for service_id in (1, 2, 3):
        doors.open(service_id, now=0)
    for service_id in (2, 3, 1):
        doors.knocked(service_id, now=0)
    assert answers(doors) == [(2, "")]
    assert [doors.stream_came(now=1) for _ in range(3)] == [2, 3, 1]
    assert answers(doors) == [(3, ""), (1, "")]


def test_a_knock_whose_turn_does_not_come_is_refused() -> None:
    doors = Doors()
    doors.open(1, now=0)
    doors.open(2, now=0)
    doors.knocked(1, now=0)
    doors.knocked(2, now=1)
    doors.tick(now=5)
    assert answers(doors) == [(1, ""), (2, "another stream is awaited")]


def test_a_stream_that_does_not_come_is_not_awaited_for_ever() -> None:
    doors = Doors()
    doors.open(1, now=0)
    doors.knocked(1, now=0)
    assert doors.deadline == 10
    doors.tick(now=10)
    assert doors.stream_came(now=10) is None
    doors.knocked(1, now=10)
    assert answers(doors) == [(1, ""), (1, "")]


def test_a_stream_to_a_closed_door_is_still_told_apart() -> None:
    doors = Doors()
    doors.open(1, now=0)
    doors.knocked(1, now=0)
    doors.close(1)
    assert doors.stream_came(now=0) == 1
    assert len(doors) == 0


def test_a_door_cannot_be_open_twice() -> None:
    doors = Doors()
    doors.open(1, now=0)
    with pytest.raises(BridgeError) as caught:
        doors.open(1, now=0)
    assert caught.value.reason == "BROKER_ID_IN_USE"
    doors.close(1)
    doors.open(1, now=0)


def test_a_flood_of_knocks_is_refused() -> None:
    doors = Doors(limit=2)
    for _ in range(3):
        for service_id in (1, 2, 3):
            doors.knocked(service_id, now=0)
    assert answers(doors) == [(3, "too many knocks wait")] * 3
    doors.clear()
    assert len(doors) == 0


def test_another_host_owes_no_stream_that_the_one_before_was_promised() -> None:
    doors = Doors()
    doors.open(1, now=0)
    doors.knocked(1, now=0)
    doors.clear()
    assert answers(doors) == []
    assert doors.stream_came(now=0) is None
    doors.knocked(1, now=0)
    assert answers(doors) == [(1, "")]


class MuxModel(RuleBasedStateMachine):
    """A dialing side and an accepting side, with control messages and streams on their way between them. A stream
    carries in its name what it is for; nothing of the sides knows that."""

    def __init__(self) -> None:
        super().__init__()
        self.knocks, self.doors, self.now = Knocks(), Doors(limit=3), 0.0
        self.dialing: tuple[int, float] | None = None
        self.open: set[int] = set()
        self.ways: list[ConnInfo | int] = []
        """From the dialing side: knocks and streams, in one order."""
        self.back: list[tuple[float, ConnInfo]] = []
        """To it, with the time when they were sent."""
        self.arrived: list[int] = []

    def settle(self) -> None:
        self.back += [(self.now, info) for info in self.doors.take()]

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        # What the doors have welcomed is answered with a stream while they expect it.
        oldest = min((sent for sent, _ in self.back), default=self.now)
        waiting = any(isinstance(item, int) for item in self.ways)
        if self.now + seconds - oldest >= 9 or waiting:
            return
        self.now += seconds
        self.doors.tick(self.now)
        self.settle()

    @precondition(lambda self: self.dialing is None)
    @rule(service_id=st.integers(1, 3))
    def dial(self, service_id: int) -> None:
        self.dialing = service_id, self.now
        self.ways.append(self.knocks.knock(service_id))

    @precondition(lambda self: self.dialing is not None)
    @rule()
    def give_up(self) -> None:
        self.knocks.give_up()
        self.dialing = None

    @precondition(lambda self: self.back)
    @rule()
    def answer_arrives(self) -> None:
        _, info = self.back.pop(0)
        answer = self.knocks.answered(info)
        if answer is Answer.AWAITED:
            assert self.dialing is not None
            assert info.service_id == self.dialing[0]
            self.dialing = None
        if info.is_welcome:
            assert answer is not Answer.UNKNOWN
            self.ways.append(info.service_id)

    @precondition(lambda self: self.ways)
    @rule()
    def something_arrives(self) -> None:
        item = self.ways.pop(0)
        if isinstance(item, ConnInfo):
            self.doors.knocked(item.service_id, self.now)
        else:
            assert self.doors.stream_came(self.now) == item
        self.settle()

    @rule(service_id=st.integers(1, 3))
    def open_or_close(self, service_id: int) -> None:
        if service_id in self.open:
            self.open.remove(service_id)
            self.doors.close(service_id)
        else:
            self.open.add(service_id)
            self.doors.open(service_id, self.now)
        self.settle()

    @invariant()
    def nothing_piles_up(self) -> None:
        assert len(self.doors) <= 3 + 3 + 1
        assert len(self.knocks) <= 3 + 1


def test_every_stream_goes_to_whom_it_was_opened_for() -> None:
    run_state_machine_as_test(MuxModel, settings=settings(max_examples=120, stateful_step_count=40, deadline=None))

"""The circuit breaker against a model of it, over thousands of histories, and its rules one by one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from bridge.errors import BridgeError, Code
from bridge_client import BreakerPolicy, CircuitBreaker, State
from bridge_client.breaker import REFUSED, TRANSITIONS, Event
from bridge_client.breakers import CircuitBreakers

POLICY = BreakerPolicy(failure_threshold=3, window=10.0, reset_timeout=1.0, max_reset_timeout=8.0, jitter=0.0)


class Model:
    """The rules written down another way: from the whole history, without counters."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = State.CLOSED
        self.outcomes: list[tuple[str, float]] = []
        self.failed_probes = 0
        self.opened_at = 0.0
        self.probe: object | None = None
        self.probe_at = 0.0
        self.era = object()

    def open_time(self) -> float:
        policy = self.policy
        return min(policy.reset_timeout * policy.reset_multiplier**self.failed_probes, policy.max_reset_timeout)

    def admit(self, now: float) -> object | None:
        if self.state is State.CLOSED:
            return self.era
        if self.state is State.OPEN:
            if now < self.opened_at + self.open_time():
                return None
            self.state = State.HALF_OPEN
        elif self.probe is not None and now < self.probe_at + self.open_time():
            return None
        self.probe, self.probe_at = object(), now
        return self.probe

    def report(self, token: object, outcome: str, now: float) -> None:
        if self.state is State.CLOSED and token is self.era:
            if outcome == "released":
                return
            self.outcomes.append((outcome, now))
            last = self.outcomes[-self.policy.failure_threshold :]
            in_a_row = len(last) == self.policy.failure_threshold and all(what == "failure" for what, _ in last)
            if in_a_row and now - last[0][1] <= self.policy.window:
                self._open(now)
                self.failed_probes = 0
        elif self.state is State.HALF_OPEN and token is self.probe:
            self.probe = None
            if outcome == "success":
                self.state, self.outcomes, self.era = State.CLOSED, [], object()
            elif outcome == "failure":
                self.failed_probes += 1
                self._open(now)

    def _open(self, now: float) -> None:
        self.state, self.opened_at, self.outcomes, self.era = State.OPEN, now, [], object()


def report(breaker: CircuitBreaker, ticket: int, outcome: str, now: float) -> None:
    if outcome == "success":
        breaker.success(ticket)
    elif outcome == "failure":
        breaker.failure(ticket, now)
    else:
        breaker.release(ticket)


def random_policy(chance: random.Random, jitter: float) -> BreakerPolicy:
    return BreakerPolicy(
        failure_threshold=chance.randint(1, 4),
        window=chance.choice([0.0, 1.0, 5.0, 100.0]),
        reset_timeout=chance.choice([0.5, 1.0, 3.0]),
        max_reset_timeout=chance.choice([3.0, 10.0]),
        reset_multiplier=chance.choice([1.0, 2.0, 4.0]),
        jitter=jitter,
    )


@pytest.mark.parametrize("block", range(8))
def test_random_histories_go_as_the_model_says(block: int) -> None:
    for seed in range(block * 500, (block + 1) * 500):
        chance = random.Random(seed)
        policy = random_policy(chance, jitter=0.0)
        breaker, model, now = CircuitBreaker(policy), Model(policy), 100.0
        running: list[tuple[int, object]] = []
        for step in range(80):
            where = f"seed {seed} step {step}"
            if chance.random() < 0.5:
                # Binary fractions, so that the two ways of adding them up agree to the last bit.
                now += chance.choice([0.0, 0.25, 0.5, 1.0, 4.0])
            if not running or chance.random() < 0.5:
                ticket, token = breaker.admit(now), model.admit(now)
                assert (ticket == REFUSED) == (token is None), where
                if token is not None:
                    running.append((ticket, token))
            else:
                ticket, token = running.pop(chance.randrange(len(running)))
                outcome = chance.choices(["failure", "success", "released"], [6, 3, 1])[0]
                report(breaker, ticket, outcome, now)
                model.report(token, outcome, now)
            assert breaker.state is model.state, where


def recorder(changes: list[tuple[State, State]]) -> Callable[[State, State], None]:
    return lambda before, after: changes.append((before, after))


@pytest.mark.parametrize("block", range(4))
def test_random_histories_keep_the_promises(block: int) -> None:
    for seed in range(block * 500, (block + 1) * 500):
        chance = random.Random(seed)
        policy = random_policy(chance, jitter=chance.random())
        changes: list[tuple[State, State]] = []
        breaker = CircuitBreaker(policy, random=chance.random, on_change=recorder(changes))
        now, running = 0.0, list[int]()
        probes: dict[int, float] = {}
        for _ in range(80):
            now += chance.choice([0.0, 0.1, 0.3, 1.0])
            if not running or chance.random() < 0.5:
                before = breaker.state
                ticket = breaker.admit(now)
                if ticket == REFUSED:
                    assert breaker.retry_after(now) > 0
                    assert before is not State.CLOSED
                    continue
                running.append(ticket)
                if breaker.state is State.HALF_OPEN:
                    # One probe: any other of this period counts as lost, after the shortest time a breaker is open.
                    lost_after = min(policy.reset_timeout, policy.max_reset_timeout)
                    assert all(now - started >= lost_after - 1e-9 for started in probes.values())
                    probes[ticket] = now
            else:
                ticket = running.pop(chance.randrange(len(running)))
                probes.pop(ticket, None)
                report(breaker, ticket, chance.choice(["failure", "failure", "success", "released"]), now)
                if breaker.state is not State.HALF_OPEN:
                    probes.clear()
        assert all(after in TRANSITIONS[before].values() for before, after in changes)
        assert all(one[1] is other[0] for one, other in itertools.pairwise(changes))
        # Never stuck: after the longest time it can be open somebody may call again.
        assert breaker.admit(now + policy.max_reset_timeout * 2) != REFUSED


def tripped(policy: BreakerPolicy = POLICY, **options: Callable[[], float]) -> CircuitBreaker:
    breaker = CircuitBreaker(policy, **options)  # type: ignore[arg-type]
    for _ in range(policy.failure_threshold):
        breaker.failure(breaker.admit(0.0), 0.0)
    assert breaker.state is State.OPEN
    return breaker


def test_it_opens_at_the_threshold_and_says_when_to_come_back() -> None:
    breaker = tripped()
    assert breaker.admit(0.25) == REFUSED
    assert breaker.retry_after(0.25) == 0.75


def test_a_success_in_between_forgives_the_failures() -> None:
    breaker = CircuitBreaker(POLICY)
    for _ in range(10):
        breaker.failure(breaker.admit(0.0), 0.0)
        breaker.failure(breaker.admit(0.0), 0.0)
        breaker.success(breaker.admit(0.0))
    assert breaker.state is State.CLOSED


def test_failures_spread_over_more_than_the_window_do_not_open_it() -> None:
    breaker = CircuitBreaker(POLICY)
    for second in range(0, 60, 6):
        breaker.failure(breaker.admit(second), second)
    assert breaker.state is State.CLOSED


def test_exactly_one_probe_passes_when_half_open() -> None:
    breaker = tripped()
    probe = breaker.admit(1.0)
    assert probe != REFUSED
    assert breaker.state is State.HALF_OPEN
    assert [breaker.admit(1.0) for _ in range(5)] == [REFUSED] * 5
    breaker.success(probe)
    assert breaker.state is State.CLOSED


def test_a_failed_probe_opens_it_for_longer() -> None:
    breaker, now, waits = tripped(), 0.0, []
    for _ in range(6):
        wait = breaker.retry_after(now)
        waits.append(wait)
        now += wait
        breaker.failure(breaker.admit(now), now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_cancelled_probe_lets_the_next_call_be_the_probe() -> None:
    breaker = tripped()
    breaker.release(breaker.admit(1.0))
    assert breaker.state is State.HALF_OPEN
    assert breaker.admit(1.0) != REFUSED


def test_a_probe_that_never_reports_does_not_keep_others_out_for_ever() -> None:
    breaker = tripped()
    lost = breaker.admit(1.0)
    assert breaker.admit(1.9) == REFUSED
    probe = breaker.admit(2.0)
    assert probe != REFUSED
    breaker.failure(lost, 2.0)
    assert breaker.state is State.HALF_OPEN, "only the probe of now decides"
    breaker.success(probe)
    assert breaker.state is State.CLOSED


def test_a_slow_failure_from_before_does_not_disturb_the_probe() -> None:
    breaker = CircuitBreaker(POLICY)
    slow = breaker.admit(0.0)
    for _ in range(3):
        breaker.failure(breaker.admit(0.0), 0.0)
    probe = breaker.admit(1.0)
    breaker.failure(slow, 1.0)
    assert breaker.state is State.HALF_OPEN
    breaker.success(probe)
    breaker.failure(slow, 1.0)
    assert repr(breaker) == "<CircuitBreaker closed failures=0>"


def test_every_change_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


def clock() -> float:
    return 0.0


def test_only_codes_that_say_nobody_is_there_count() -> None:
    breakers = CircuitBreakers("here", POLICY)
    for code in set(Code) - {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL}:
        for _ in range(5):
            breakers.error("tool", breakers.admit("tool", clock), code, 0.0)
    assert breakers.states() == {}
    for code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL):
        breakers.error("tool", breakers.admit("tool", clock), code, 0.0)
    assert breakers.states() == {"tool": State.OPEN}


def test_one_tool_does_not_close_the_way_to_another() -> None:
    breakers = CircuitBreakers("here", POLICY)
    for _ in range(3):
        breakers.error("bad", breakers.admit("bad", clock), Code.INTERNAL, 0.0)
    assert breakers.admit("good", clock) == 0
    with pytest.raises(BridgeError) as caught:
        breakers.admit("bad", clock)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "CIRCUIT_OPEN")
    assert caught.value.retry_after is not None
    assert 0.8 <= caught.value.retry_after <= 1.2


def test_as_many_tools_are_tracked_as_the_policy_says() -> None:
    breakers = CircuitBreakers("here", BreakerPolicy(max_tracked=3))
    for number in range(100):
        tool = f"tool{number}"
        breakers.error(tool, breakers.admit(tool, clock), Code.INTERNAL, 0.0)
    assert list(breakers.states()) == ["tool97", "tool98", "tool99"]


def test_a_ticket_of_a_forgotten_breaker_means_nothing_to_the_next() -> None:
    breakers = CircuitBreakers("here", BreakerPolicy(failure_threshold=1, max_tracked=1, jitter=0.0))
    breakers.error("a", breakers.admit("a", clock), Code.INTERNAL, 0.0)
    old_probe = breakers.admit("a", lambda: 100.0)
    breakers.error("b", breakers.admit("b", clock), Code.INTERNAL, 0.0)
    breakers.error("a", breakers.admit("a", clock), Code.INTERNAL, 100.0)
    breakers.success("a", old_probe)
    assert breakers.states() == {"a": State.OPEN}


def test_observer_is_told_and_its_bugs_stay_its_own(caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []

    def observe(*change: object) -> None:
        told.append(change)
        raise ValueError("bug")

    breakers = CircuitBreakers("here", BreakerPolicy(failure_threshold=1), on_state_change=observe)
    breakers.error("tool", 0, Code.INTERNAL, 0.0)
    assert told == [("here", "tool", State.CLOSED, State.OPEN)]
    assert "on_state_change raised" in caplog.text


@pytest.mark.parametrize("field", ["failure_threshold", "window", "max_tracked"])
def test_policy_out_of_range_is_refused_by_name(field: str) -> None:
    with pytest.raises(BridgeError) as caught:
        BreakerPolicy(**{field: -1})
    assert caught.value.violations[0].field == field

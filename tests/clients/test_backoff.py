"""The waits between attempts, as values."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge_client import Backoff

policies = st.builds(
    Backoff,
    initial=st.floats(0, 1e6),
    maximum=st.floats(0, 1e6),
    multiplier=st.floats(1, 1e3),
    jitter=st.floats(0, 1),
)


@given(policies, st.integers(-5, 10**9), st.floats(0, 1))
def test_delay_stays_within_the_jitter_around_a_bounded_ceiling(backoff: Backoff, attempt: int, chance: float) -> None:
    ceiling, delay = backoff.ceiling(attempt), backoff.delay(attempt, chance)
    assert 0 <= ceiling <= backoff.maximum
    assert math.isfinite(delay)
    slack = 1e-9 * ceiling
    assert ceiling * (1 - backoff.jitter) - slack <= delay <= ceiling * (1 + backoff.jitter) + slack


@given(policies, st.integers(1, 2000))
def test_ceiling_never_falls(backoff: Backoff, attempt: int) -> None:
    assert backoff.ceiling(attempt) <= backoff.ceiling(attempt + 1)


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(initial=0.05, maximum=0.3, multiplier=2.0, jitter=0.0)
    assert [backoff.delay(attempt, 0.5) for attempt in range(1, 6)] == [0.05, 0.1, 0.2, 0.3, 0.3]


def test_jitter_spreads_clients_that_failed_together() -> None:
    backoff, chance = Backoff(jitter=0.2), random.Random(1)
    delays = {backoff.delay(3, chance.random()) for _ in range(100)}
    assert len(delays) == 100
    assert max(delays) - min(delays) > 0.3 * backoff.ceiling(3)


@pytest.mark.parametrize(
    "field", [{"initial": -1.0}, {"maximum": math.nan}, {"multiplier": 0.5}, {"jitter": 1.5}, {"initial": math.inf}]
)
def test_field_out_of_range_is_refused_by_name(field: dict[str, float]) -> None:
    with pytest.raises(BridgeError) as caught:
        Backoff(**field)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == next(iter(field))

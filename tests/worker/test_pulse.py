"""A worker is asked whether it hears when a call takes long, and only then."""

from __future__ import annotations

import asyncio

import pytest

from bridge.worker import pulse
from bridge.worker.pulse import Pulse

pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats come quickly."""
    monkeypatch.setattr(pulse, "INTERVAL", 0.01)


class Patient:
    """A worker, and what was noted about it."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.pings: list[int] = []
        self.notes: list[bool] = []
        self.changed = asyncio.Event()
        self.pinged = asyncio.Event()
        self.pulse = Pulse(self._ping, self._note)

    def _ping(self, number: int) -> None:
        self.pings.append(number)
        self.pinged.set()
        if self.answers:
            asyncio.get_running_loop().call_soon(self.pulse.answered, number)

    def _note(self) -> None:
        self.notes.append(self.pulse.is_silent)
        self.changed.set()


async def beats(count: int = 5) -> None:
    """Returns when so many beats are over."""
    for _ in range(count):
        await asyncio.sleep(pulse.INTERVAL)


async def test_a_worker_that_does_not_answer_is_silent_and_that_is_told_once() -> None:
    patient = Patient(answers=False)
    async with asyncio.timeout(5):
        patient.pulse.begin(1)
        await patient.changed.wait()
        assert patient.pulse.is_silent
        await beats()
    assert patient.notes == [True]
    assert len(patient.pings) == 1
    patient.pulse.end()
    assert not patient.pulse.is_silent
    patient.pulse.close()


async def test_a_silent_worker_that_answers_after_all_is_heard_again() -> None:
    patient = Patient(answers=False)
    async with asyncio.timeout(5):
        patient.pulse.begin(1)
        await patient.changed.wait()
        patient.answers = True
        patient.pulse.answered(patient.pings[0])
        assert not patient.pulse.is_silent
        asked = len(patient.pings)
        await beats()
    assert patient.notes == [True, False]
    assert len(patient.pings) > asked
    patient.pulse.close()


async def test_a_worker_that_answers_is_never_silent() -> None:
    patient = Patient(answers=True)
    patient.pulse.begin(1)
    async with asyncio.timeout(5):
        while len(patient.pings) < 5:
            patient.pinged.clear()
            await patient.pinged.wait()
    assert patient.notes == []
    patient.pulse.close()


async def test_short_calls_are_never_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "INTERVAL", 60.0)
    patient = Patient(answers=False)
    for number in range(1, 5):
        patient.pulse.begin(number)
        patient.pulse._beat()
        patient.pulse.end()
    patient.pulse._beat()
    assert patient.pings == []
    patient.pulse.begin(5)
    patient.pulse._beat()
    patient.pulse._beat()
    assert len(patient.pings) == 1
    patient.pulse.close()


async def test_a_call_that_begins_in_silence_is_given_its_own_time() -> None:
    patient = Patient(answers=False)
    async with asyncio.timeout(5):
        patient.pulse.begin(1)
        await patient.changed.wait()
        patient.pulse.end()
        patient.pulse.begin(2)
        patient.pulse.answered(patient.pings[0])  # what was blocked has gone on
        assert not patient.pulse.is_silent
        patient.answers = True
        await beats()
    assert patient.notes == [True]
    patient.pulse.close()


async def test_whoever_asks_is_told_in_time() -> None:
    well, deaf = Patient(answers=True), Patient(answers=False)
    async with asyncio.timeout(5):
        assert await well.pulse.ping(5.0)
        assert not await deaf.pulse.ping(0.01)
        gone = asyncio.create_task(deaf.pulse.ping(5.0))
        await asyncio.sleep(0)
        deaf.pulse.close()
        assert not await gone


async def test_an_answer_that_nobody_waits_for_means_nothing() -> None:
    patient = Patient(answers=False)
    patient.pulse.answered(7)
    patient.pulse.begin(1)
    async with asyncio.timeout(5):
        await patient.changed.wait()
    patient.pulse.answered(patient.pings[0] + 1)
    assert patient.pulse.is_silent
    patient.pulse.close()

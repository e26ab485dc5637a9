"""Which telemetry events go out, as Elixir asks by ``TelemetryControl``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from bridge.errors import BridgeError, invalid_argument
from bridge.snakepit import messages
from bridge.snakepit.telemetry_events import EVENTS
from bridge.tool_messages import parse_request

__all__ = ["EventFilter"]

MAX_PATTERNS = 64
"""Patterns in one control message."""
MAX_PATTERN_LENGTH = 128


class EventFilter:
    """What is wanted of each event.

    The names of events are few and known, so each control message is applied to all of them when it comes, and an event
    costs a look into a dict. Patterns are those of ``fnmatch`` over names such as ``tool.execution.start``.

    - ``toggle`` switches everything off or on again.
    - ``sampling`` sets the part of events that go out, from 0 to 1: of those that match one of its patterns, or of all
      if it has none. What it does not match stays as it was.
    - ``filter`` lets out what matches ``allow``, or everything if that is empty, and does not match ``deny``. Each
      replaces the one before.
    """

    def __init__(self) -> None:
        self.enabled = True
        """Whether anything is wanted at all."""
        self.chance: dict[str, float] = dict.fromkeys(EVENTS, 1.0)
        """By event the part that goes out; an event does if a random number from 0 to 1 is less."""
        self._rates = dict(self.chance)
        self._allowed = EVENTS

    def obey(self, data: bytes) -> None:
        """Does what a control message asks.

        Raises ``BridgeError`` INVALID_ARGUMENT and changes nothing, if it is not a control message, asks nothing that
        is known here, has a rate outside 0 to 1 or too many or too long patterns.
        """
        control = parse_request(messages.TelemetryControl.FromString, data)
        match control.WhichOneof("control"):
            case "toggle":
                self.enabled = control.toggle.enabled
            case "sampling":
                self._sample(control.sampling)
            case "filter":
                allowed = _matching("filter.allow", control.filter.allow) if control.filter.allow else EVENTS
                self._allowed = allowed - _matching("filter.deny", control.filter.deny)
            case _:
                raise _refused("control", "must be toggle, sampling or filter")
        self.chance = {event: rate if event in self._allowed else 0.0 for event, rate in self._rates.items()}

    def _sample(self, sampling: messages.TelemetrySamplingUpdate) -> None:
        rate, patterns = sampling.sampling_rate, sampling.event_patterns
        if not 0.0 <= rate <= 1.0:  # nor is NaN
            raise _refused("sampling.sampling_rate", "must be from 0 to 1")
        meant = _matching("sampling.event_patterns", patterns) if patterns else EVENTS
        self._rates |= dict.fromkeys(meant, rate)


def _matching(field: str, patterns: Iterable[str]) -> frozenset[str]:
    """The events that match one of some patterns."""
    patterns = tuple(patterns)
    if len(patterns) > MAX_PATTERNS:
        raise _refused(field, f"must be at most {MAX_PATTERNS} patterns")
    if any(len(pattern) > MAX_PATTERN_LENGTH for pattern in patterns):
        raise _refused(field, f"a pattern must have at most {MAX_PATTERN_LENGTH} characters")
    compiled = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]
    return frozenset(event for event in EVENTS if any(pattern.match(event) for pattern in compiled))


def _refused(field: str, description: str) -> BridgeError:
    return invalid_argument(field, description, reason="CONTROL_REFUSED")

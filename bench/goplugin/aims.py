"""What plugins are meant to reach, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from bench.figures import ratios
from bench.goplugin.subjects import SUBJECTS, Subject

__all__ = ["judge"]

Samples = Mapping[str, list[dict[str, float]]]
"""What was saved of each subject, by its label."""

_BY_LABEL = {subject.label: subject for subject in SUBJECTS}


def judge(saved: Mapping[str, Any]) -> Iterator[str]:
    """A line for each aim that was measured."""
    starts: Samples = saved.get("starts", {})
    for label in _of_ours(starts):
        yield _line(f"{label}: launch to handshake line, ms", _median(starts, label, "line") * 1000, 250)
        yield _line(f"{label}: RSS then, MB", _median(starts, label, "rss"), 45)
        yield _line(f"{label}: kill, ms", _median(starts, label, "kill") * 1000, 100)
        if not _BY_LABEL[label].mux:
            yield from _ratio(starts, label, "line", 0.5, "launch to handshake line")
    for in_flight, calls in saved.get("calls", {}).items():
        for label in _of_ours(calls):
            yield from _ratio(calls, label, "cpu", _call_limit(_BY_LABEL[label]), f"CPU, {in_flight} in flight")
            if _BY_LABEL[label].mux:
                yield from _ratio(calls, label, "seconds", 1.3, f"time, {in_flight} in flight")
    big: Samples = saved.get("big", {})
    for label in _of_ours(big):
        peer = "pyvider, TLS" if _BY_LABEL[label].tls else "pyvider, plain"
        yield from _ratio(big, label, "seconds", 0.5, "time of 64 MiB", peer)
        if _BY_LABEL[label].mux:
            yield from _ratio(big, label, "cpu", 1.3, "CPU of 64 MiB")
            yield from _ratio(big, label, "seconds", 1.3, "time of 64 MiB")


def _of_ours(samples: Samples) -> list[str]:
    return [label for label in samples if _BY_LABEL[label].program == "ours"]


def _call_limit(subject: Subject) -> float:
    return 1.3 if subject.mux or subject.tls else 1.05


def _median(samples: Samples, label: str, name: str) -> float:
    return median(sample[name] for sample in samples[label])


def _ratio(samples: Samples, label: str, name: str, limit: float, what: str, against: str = "") -> Iterator[str]:
    against = against or _BY_LABEL[label].against
    if against in samples:
        values, reference = ([sample[name] for sample in samples[key]] for key in (label, against))
        yield _line(f"{label}: {what}, over {against}", median(ratios(values, reference)), limit)


def _line(what: str, measured: float, limit: float) -> str:
    return f"{'met   ' if measured <= limit else 'MISSED'}  {what}: {measured:.2f} (aim <= {limit:g})"

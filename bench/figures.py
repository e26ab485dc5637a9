"""The arithmetic of the tables: medians over rounds, and ratios within a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

__all__ = ["Row", "Sample", "ratios", "summarise"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one entry in one round."""

    units: int
    """Calls or messages."""
    seconds: float
    cpu: int
    """Nanoseconds of CPU of the server."""
    host_cpu: int = 0
    """Nanoseconds of CPU of the host process, if there is one."""
    p50: float = 0.0
    """Latency of a call, seconds."""
    p99: float = 0.0

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of server CPU per unit."""
        return self.cpu / self.units / 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    label: str
    cpu_us: float
    cpu_ratio: float
    """Median over the rounds of (this CPU per unit / the reference's in the same round)."""
    cpu_ratio_low: float
    cpu_ratio_high: float
    rate: float
    rate_ratio: float
    p50_ms: float
    p99_ms: float
    host_cpu_us: float
    reply_bytes: int
    samples: list[Sample] = field(default_factory=list)


def ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Each round's value over the same round's reference. Rounds that only one of them has are left out."""
    return [value / base for value, base in zip(values, reference, strict=False) if base]


def summarise(label: str, samples: list[Sample], reference: list[Sample], reply_bytes: int) -> Row:
    """Medians of the samples, beside the reference's samples of the same rounds."""
    cpu = ratios([sample.cpu_us for sample in samples], [sample.cpu_us for sample in reference])
    rate = ratios([sample.rate for sample in samples], [sample.rate for sample in reference])
    return Row(
        label=label,
        cpu_us=median(sample.cpu_us for sample in samples),
        cpu_ratio=median(cpu),
        cpu_ratio_low=min(cpu),
        cpu_ratio_high=max(cpu),
        rate=median(sample.rate for sample in samples),
        rate_ratio=median(rate),
        p50_ms=median(sample.p50 for sample in samples) * 1000,
        p99_ms=median(sample.p99 for sample in samples) * 1000,
        host_cpu_us=median(sample.host_cpu / sample.units / 1000 for sample in samples),
        reply_bytes=reply_bytes,
        samples=samples,
    )

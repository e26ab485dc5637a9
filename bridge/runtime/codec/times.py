"""Points in time and time spans: ``Timestamp`` and ``Duration`` (google/protobuf/{timestamp,duration}.proto)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from ..protobuf import decode, encode
from ..tables import DURATION, TIMESTAMP
from .base import TYPE_URL_PREFIX, Lowered, Packed, malformed, refused, unsupported

__all__ = ["CONVERTERS", "LOWER", "READERS"]

_TIMESTAMP_URL = TYPE_URL_PREFIX + "google.protobuf.Timestamp"
_DURATION_URL = TYPE_URL_PREFIX + "google.protobuf.Duration"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MIN_SECONDS = -62_135_596_800
"""0001-01-01T00:00:00Z."""
_MAX_SECONDS = 253_402_300_799
"""9999-12-31T23:59:59Z."""
_MAX_SPAN = 315_576_000_000
"""Whole seconds of the longest Duration, 10,000 years."""
_NANOS = 1_000_000_000
_SECOND = timedelta(seconds=1)


def _lower_datetime(value: datetime, depth: int) -> Packed:
    _refuse_nanoseconds(value, "nanosecond")
    if value.utcoffset() is None:
        raise unsupported(
            "the datetime has no time zone: use datetime.now(timezone.utc) or value.replace(tzinfo=...); "
            "for local wall-clock time send value.isoformat()"
        )
    seconds, rest = divmod(value - _EPOCH, _SECOND)
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise unsupported("the datetime is outside of the years 1 to 9999 in UTC")
    return _TIMESTAMP_URL, encode(TIMESTAMP, {"seconds": seconds, "nanos": rest.microseconds * 1000})


def _lower_timedelta(value: timedelta, depth: int) -> Packed:
    _refuse_nanoseconds(value, "nanoseconds")
    seconds, rest = divmod(abs(value), _SECOND)
    if seconds > _MAX_SPAN:
        raise unsupported("the timedelta is longer than 10,000 years")
    sign = -1 if value.days < 0 else 1
    return _DURATION_URL, encode(DURATION, {"seconds": sign * seconds, "nanos": sign * rest.microseconds * 1000})


def _refuse_nanoseconds(value: datetime | timedelta, attribute: str) -> None:
    # pandas' Timestamp and Timedelta are subclasses with three more digits; NaT, which equals nothing, is one too.
    if getattr(value, attribute, 0) or value != value:
        raise unsupported("the time is finer than a microsecond, or not a time: round it first")


def _read_timestamp(data: bytes, depth: int) -> datetime:
    fields = decode(TIMESTAMP, data)
    seconds, nanos = fields["seconds"], fields["nanos"]
    if not 0 <= nanos < _NANOS:
        raise malformed("the Timestamp's nanos are not between 0 and 999,999,999")
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise refused("the Timestamp is outside of the years 1 to 9999")
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _read_duration(data: bytes, depth: int) -> timedelta:
    fields = decode(DURATION, data)
    seconds, nanos = fields["seconds"], fields["nanos"]
    if abs(nanos) >= _NANOS or (seconds < 0 < nanos) or (nanos < 0 < seconds):
        raise malformed("the Duration's nanos are out of range or differ from its seconds in sign")
    if abs(seconds) > _MAX_SPAN:
        raise refused("the Duration is longer than 10,000 years")
    return timedelta(seconds=seconds, microseconds=math.trunc(nanos / 1000))


LOWER: dict[type, Callable[[Any, int], Lowered]] = {datetime: _lower_datetime, timedelta: _lower_timedelta}

CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, datetime), _lower_datetime),
    (lambda value: isinstance(value, timedelta), _lower_timedelta),
)

READERS: dict[str, Callable[[bytes, int], Any]] = {_TIMESTAMP_URL: _read_timestamp, _DURATION_URL: _read_duration}

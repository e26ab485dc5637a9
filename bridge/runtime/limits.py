"""What the kernel lets a worker take (getrlimit(2))."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["check_limits", "set_limits"]

_TO_END = 1
"""Seconds of CPU from SIGXCPU, which says what happened, to SIGKILL."""


def check_limits(limits: Mapping[str, int]) -> None:
    """Raises ``ValueError`` for a limit that this system does not have, or of less than 0."""
    for name, value in limits.items():
        _number(name)
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"limit {name} is {value!r}, and has to be a number from 0 on")


def set_limits(limits: Mapping[str, int]) -> None:
    """Limits this process and what it will start; where the system's own limit is lower that one stays."""
    for name, value in limits.items():
        import resource

        number = _number(name)
        _, most = resource.getrlimit(number)
        hard = value + _TO_END if name == "CPU" else value
        if most != resource.RLIM_INFINITY:
            hard = min(hard, most)
        resource.setrlimit(number, (min(value, hard), hard))


def _number(name: str) -> int:
    import resource

    number = getattr(resource, f"RLIMIT_{name}", None)
    if not isinstance(number, int):
        known = sorted(known[len("RLIMIT_") :] for known in dir(resource) if known.startswith("RLIMIT_"))
        raise ValueError(f"there is no limit {name!r}; there are {', '.join(known)}")
    return number

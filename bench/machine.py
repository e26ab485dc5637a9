"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bench.servers import CJM, PYVIDER, Settings

__all__ = ["describe"]

_PACKAGES = ("grpcio", "protobuf", "msgspec", "opentelemetry-api", "opentelemetry-sdk")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _cores(cores: frozenset[int]) -> str:
    return " ".join(map(str, sorted(cores))) or "any core"


def describe(h2load: str, settings: Settings) -> dict[str, object]:
    """Machine, load and versions, for the head of a report."""
    tool = subprocess.run([h2load, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    python = subprocess.run([settings.python, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": python,
        "h2load": tool,
        "transport": "unix" if settings.unix else "tcp",
        "packages": {package: _version(package) for package in _PACKAGES},
        "pinned": f"servers on {_cores(settings.cores.servers)}, load on {_cores(settings.cores.load)}",
        "peers": [PYVIDER, CJM],
    }

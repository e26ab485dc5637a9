"""Fixtures of the executors' tests."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.ray.local import LocalCluster
from tests.support import probes


@pytest.fixture
def events(journal: probes.Journal) -> probes.Journal:
    """The journal, for events of worker processes; to be asked for before the server is started."""
    journal.listen()
    return journal


@pytest.fixture(scope="session")
def with_ray() -> None:
    """Skips the test where there is no Ray."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'tool-bridge[ray]'")


@pytest.fixture(scope="session")
def ray_cluster(with_ray: None) -> Iterator[LocalCluster]:
    """A Ray cluster on this machine."""
    cluster = LocalCluster(60)
    yield cluster
    cluster.close()


@pytest.fixture
def on_ray(
    ray_cluster: LocalCluster, events: probes.Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Settings of a server whose tools run on the cluster; what they do there is in the journal."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, ray_cluster.environ[name])
    environment = tmp_path / "environment.json"
    environment.write_text(json.dumps({"env_vars": {probes.OWNER: os.environ[probes.OWNER]}}))
    return {
        "isolation": "ray",
        "ray_address": ray_cluster.address,
        "ray_runtime_env": environment,
        "ray_start_timeout": 20.0,
        "worker_grace": 0.3,
    }

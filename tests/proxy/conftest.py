"""Fixtures: plugins in a folder of the test, and proxies that end with it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.worker import WorkerProxy
from tests.proxy.ways import WAYS, Files, Start, Way, WriteManifest

if sys.platform != "linux":
    pytest.skip("worker processes need Linux", allow_module_level=True)


@pytest.fixture
def plugin(tmp_path: Path) -> WriteManifest:
    """What stands in a manifest of a class of the sample: ``plugin("Plain", limits={...})``."""
    folder = tmp_path / "plugin"
    folder.mkdir(mode=0o700)
    file = folder / "sample_plugin.py"
    shutil.copyfile(Path(__file__).parent / "sample_plugin.py", file)
    file.chmod(0o600)

    def manifest(cls: str = "Sample", **fields: Any) -> dict[str, Any]:
        return {"name": "sample", "adapter": f"{file}:{cls}", "working_directory": str(folder), **fields}

    return manifest


@pytest.fixture
async def start_in() -> AsyncIterator[Start]:
    """``await start_in(Blocking, manifest, **parameters)``"""
    async with AsyncExitStack() as stack:

        async def start(way: type[Way], manifest: Any, **parameters: Any) -> Way:
            started = way(WorkerProxy(manifest, **parameters))
            async with asyncio.timeout(20):
                await started.start()
            stack.push_async_callback(started.close)
            return started

        yield start


@pytest.fixture(params=["blocking", "awaited"])
def start(request: pytest.FixtureRequest, start_in: Start) -> Start:
    """``await start(manifest, **parameters)``, in both ways to start."""
    return partial(start_in, WAYS[request.param])


@pytest.fixture(params=list(WAYS))
def start_anyhow(request: pytest.FixtureRequest, start_in: Start) -> Start:
    """``start``, in all ways to call."""
    return partial(start_in, WAYS[request.param])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Signs of tools and tests."""
    folder = tmp_path / "signs"
    folder.mkdir()
    return Files(folder)

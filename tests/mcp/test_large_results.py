"""Where large results are kept, and that they do not outlive their server."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="needs the MCP SDK: pip install 'tool-bridge[mcp]'")

from bridge.errors import BridgeError
from bridge.mcp import large_results
from bridge.mcp.large_results import LargeResults
from bridge.mcp.results_folder import ResultsFolder, remove_leftovers

_LIVE = "from bridge.mcp.results_folder import ResultsFolder; print(ResultsFolder().path, flush=True); input()"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, for child processes, too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_results_of_a_killed_server_are_removed_by_the_next_and_those_of_a_live_one_are_not(folder: Path) -> None:
    mine = ResultsFolder()
    servers = [
        subprocess.Popen([sys.executable, "-c", _LIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = []
    for server in servers:
        assert server.stdout is not None
        paths.append(Path(server.stdout.readline().strip()))
    (paths[0] / "result.json").write_bytes(b"{}")
    servers[0].send_signal(signal.SIGKILL)
    servers[0].communicate()
    remove_leftovers()
    assert [path.exists() for path in (*paths, mine.path)] == [False, True, True]
    servers[1].communicate("\n")
    mine.close()
    remove_leftovers()
    assert list(folder.iterdir()) == []


def test_a_link_in_the_folder_for_temporary_files_is_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / "file").touch()
    (folder / "tool-bridge-results-link").symlink_to(precious)
    remove_leftovers()
    assert (precious / "file").exists()


def test_only_their_user_can_look_into_the_folder_and_the_files() -> None:
    async def keep() -> None:
        results = LargeResults(1000, local=True)
        kept = await results.keep(b"{}", "application/json", "")
        assert (kept.path.stat().st_mode & 0o777, kept.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        results.close()
        assert not kept.path.parent.exists()

    asyncio.run(keep())


async def test_results_are_kept_again_after_the_folder_was_cleaned_away() -> None:
    results = LargeResults(10, local=True)
    first = await results.keep(b"12345", "text/plain", "")
    shutil.rmtree(first.path.parent)
    assert await results.read(first.uri, "") is None
    second = await results.keep(b"1234567", "text/plain", "")
    assert await results.read(second.uri, "") == (second, b"1234567")
    results.close()


async def test_a_result_that_loses_its_room_while_it_is_written_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    begins, go_on = threading.Event(), threading.Event()
    write = large_results._write

    def slow_write(path: Path, data: bytes) -> None:
        if data == b"first ":
            begins.set()
            assert go_on.wait(5)
        write(path, data)

    monkeypatch.setattr(large_results, "_write", slow_write)
    results = LargeResults(10, local=True)
    async with asyncio.timeout(5):
        first = asyncio.create_task(results.keep(b"first ", "text/plain", ""))
        assert await asyncio.to_thread(begins.wait, 5)
        second = await results.keep(b"second", "text/plain", "")
        go_on.set()
        await first
    assert list(second.path.parent.iterdir()) == [second.path]
    results.close()


async def test_a_result_that_cannot_be_written_is_an_error_and_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    results = LargeResults(10, local=True)

    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    kept = await results.keep(b"1", "text/plain", "")
    with monkeypatch.context() as patch:
        patch.setattr(large_results, "_write", full)
        with pytest.raises(BridgeError) as caught:
            await results.keep(b"123456789", "text/plain", "")
    assert caught.value.reason == "RESULT_NOT_KEPT"
    assert list(kept.path.parent.iterdir()) == [kept.path]
    await results.keep(b"123456789", "text/plain", "")
    assert await results.read(kept.uri, "") is not None
    results.close()

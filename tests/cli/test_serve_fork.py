"""``bridge serve`` with tools in worker processes: these are forks of it."""

from __future__ import annotations

import signal
from pathlib import Path

from bridge.cli.exit_codes import ExitCode
from bridge_client.sync import BridgeClient
from tests.cli.running import running

ADAPTER = """
import os
from pathlib import Path
from bridge import Adapter, tool

with Path(__file__).with_name("imported").open("a") as file:
    print(os.getpid(), file=file)

class Own(Adapter):
    @tool
    def pid(self) -> int:
        return os.getpid()
"""


def test_adapter_is_imported_once_for_the_server_and_its_worker_processes(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(ADAPTER)
    with running("serve", "own:Own", "--isolation=process", "--listen=127.0.0.1:0", cwd=tmp_path) as server:
        with BridgeClient(server.address()) as client:
            pid = client.call("pid")
        imported = (tmp_path / "imported").read_text().split()
        assert len(imported) == 1
        assert str(pid) not in imported
        server.send(signal.SIGTERM)
        assert server.wait() == ExitCode.OK

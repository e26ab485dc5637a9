"""What is measured: one class for each way to call a plugin, run by an interpreter that has it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["SUBJECTS"]

HERE = Path(__file__).parent
ARGUMENTS = {"text": "to be, or not to be, that is the question", "number": 42}


class Bridge:
    """WorkerProxy, called by a plain program."""

    def __init__(self, workers: int = 1) -> None:
        from bridge.worker import WorkerProxy

        self.workers = workers
        adapter = f"{HERE / 'plugin.py'}:Echo"
        limits = {"workers": workers}
        self.proxy = WorkerProxy({"name": "bench", "adapter": adapter, "python": sys.executable, "limits": limits})
        self.proxy.start()

    def unary(self) -> Any:
        return self.proxy.execute("echo", **ARGUMENTS)

    def unary_async(self) -> Any:
        return self.proxy.execute("echo_async", **ARGUMENTS)

    def stream(self, count: int) -> Iterable[Any]:
        return self.proxy.stream("numbers", count=count)

    def array(self, data: Any) -> Any:
        return self.proxy.execute("array", data=data)

    def array_in(self, data: Any) -> Any:
        return self.proxy.execute("length", data=data)

    def array_through(self, data: Any) -> Any:
        return self.proxy.execute("same", data=data)

    def all_answer(self) -> None:
        """Returns when each of several workers has answered."""
        from concurrent.futures import ThreadPoolExecutor

        count = self.workers
        with ThreadPoolExecutor(count) as threads, tempfile.TemporaryDirectory() as folder:
            meeting = {"folder": folder, "count": count}
            list(threads.map(lambda _: self.proxy.execute("meet", **meeting), range(count)))

    def pids(self) -> list[int]:
        return list(self.proxy.stats().pids)

    def close(self) -> None:
        self.proxy.close()


class Cjm:
    """RemotePluginProxy of cjm-plugin-system."""

    def __init__(self) -> None:
        from cjm_plugin_system.core.proxy import RemotePluginProxy

        self.proxy = RemotePluginProxy(
            {"name": "bench", "python_path": sys.executable, "module": "bench.peers.cjm_plugin", "class": "EchoPlugin"}
        )
        self.proxy.initialize({})

    def unary(self) -> Any:
        return self.proxy.execute(**ARGUMENTS)

    def array(self, data: Any) -> Any:
        return self.proxy.execute(data="0" * data.nbytes)  # it carries JSON only

    def pids(self) -> list[int]:
        return [self.proxy.process.pid]

    def close(self) -> None:
        self.proxy.cleanup()


class Appose:
    """A Python service of Appose."""

    def __init__(self) -> None:
        import appose

        self.appose = appose
        self.service = appose.system().python()
        self._run("task.outputs['x'] = 1", {})

    def _run(self, script: str, inputs: dict[str, Any]) -> Any:
        return self.service.task(script, inputs).wait_for().outputs

    def unary(self) -> Any:
        return self._run("task.outputs['text'] = text; task.outputs['number'] = number", ARGUMENTS)

    def array(self, data: Any) -> Any:
        # Its shared memory, made, filled, read and freed for each call, as an array that one has is passed.
        with self.appose.NDArray(str(data.dtype), list(data.shape)) as shared:
            view = shared.ndarray()
            view[:] = data
            self._run("view = data.ndarray(); view += 1; task.outputs['ok'] = True", {"data": shared})
            return view.copy()

    def pids(self) -> list[int]:
        return [self.service._process.pid]

    def close(self) -> None:
        self.service.close()
        self.service.wait_for()


class InBand:
    """The same array to a bridge server, in gRPC messages."""

    def __init__(self) -> None:
        import subprocess

        from bridge_client.sync import BridgeClient

        self.folder = tempfile.TemporaryDirectory()
        ready = Path(self.folder.name) / "ready.json"
        limit = ["--max-message-bytes", "1000000000", "--max-in-flight-bytes", "4000000000"]
        command = [sys.executable, "-m", "bridge", "serve", f"{HERE / 'plugin.py'}:Echo", *limit]
        command += ["--listen", f"unix:{self.folder.name}/own/s", "--ready-file", str(ready), "--isolation", "thread"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        address = json.loads(ready.read_text())["addresses"][0]
        self.client = BridgeClient(address, max_message_bytes=1_000_000_000)

    def unary(self) -> Any:
        return self.client.call("echo", **ARGUMENTS)

    def array(self, data: Any) -> Any:
        return self.client.call("array", data=data)

    def array_in(self, data: Any) -> Any:
        return self.client.call("length", data=data)

    def array_through(self, data: Any) -> Any:
        return self.client.call("same", data=data)

    def pids(self) -> list[int]:
        return [self.process.pid]

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()


SUBJECTS = {"bridge": Bridge, "cjm": Cjm, "appose": Appose, "grpc": InBand}

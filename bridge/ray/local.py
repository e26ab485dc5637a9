"""A cluster that lives as long as a server, on the server's machine.

Ray starts processes by a fork that runs Python code in the child, which can hang where other threads are at work, and a
server always has some. So a process of its own starts them. It ends them, and itself, when its stdin ends: when the
server says so, or is gone, however it went.

This file is run by its path, and so imports nothing of ours.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["LocalCluster"]

_READY = b"ready "
"""What it says before its address."""
_LOG = "starter.log"
_SHOWN = 400
"""Bytes of what it printed, in an error."""
_END_TIME = 15.0
"""Seconds that the processes have to end."""


class LocalCluster:
    """A running cluster; all methods block.

    Args:
        timeout: seconds it has to start.

    Raises ``RuntimeError`` if it does not.
    """

    def __init__(self, timeout: float) -> None:
        self.environ = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        """Of processes that may use it: Ray runs whatever code it is asked to."""
        self._folder = Path(tempfile.mkdtemp(prefix="bridge-ray-"))
        with (self._folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-P", __file__, str(self._folder)],
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the server, which ends this one when its tools have
            )
        try:
            self.address = self._wait(timeout)
            """Where it answers, ``host:port``."""
        except BaseException:
            self.close()
            raise

    def _wait(self, timeout: float) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        readable, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not readable:
            raise RuntimeError(f"it did not start within {timeout:g} s")
        line = self._process.stdout.readline()
        if not line.startswith(_READY):
            said = (self._folder / _LOG).read_bytes()[-_SHOWN:].decode("utf-8", "replace").strip()
            raise RuntimeError(f"it did not start: ...{said}")
        return line.removeprefix(_READY).decode().strip()

    def close(self) -> None:
        """Ends all of its processes, and removes the folder."""
        try:
            self._process.communicate(timeout=_END_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel ends what it has started
            self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


def _live(folder: str) -> None:
    import ray

    context = ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=folder,
    )
    try:
        sys.stdout.buffer.write(_READY + context.address_info["gcs_address"].encode() + b"\n")
        sys.stdout.buffer.flush()
        sys.stdin.buffer.read()
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # nobody is left to be told what else may be said


if __name__ == "__main__":
    _live(sys.argv[1])

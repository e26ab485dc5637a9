"""A plugin's process that somebody else has started."""

from __future__ import annotations

import errno
import logging
import os
import signal
from typing import Self

from bridge.errors import BridgeError, Code
from bridge.goplugin.process.process_identity import ProcessIdentity
from bridge.goplugin.process.watched_process import WatchedProcess
from bridge.runtime.death import Exit

__all__ = ["ReattachedProcess"]

_PIDFD_SIGNAL_PROCESS_GROUP = 4
"""A flag of pidfd_send_signal(2), from Linux 6.9 on."""


class ReattachedProcess(WatchedProcess):
    """A process that ``attach`` has found. Only who has started it learns how it ends."""

    @classmethod
    def attach(cls, process: int | ProcessIdentity, *, logger: logging.Logger) -> Self:
        """Looks for a process that runs.

        Args:
            process: its number, or what was known of it earlier: then a later process of the same number is not taken
                for it.
            logger: told of its end.

        Raises ``BridgeError`` NOT_FOUND, reason ``PLUGIN_NOT_RUNNING``; RESOURCE_EXHAUSTED, reason
        ``PLUGIN_START_FAILED``, if no descriptor is left.
        """
        pid = process.pid if isinstance(process, ProcessIdentity) else process
        try:
            identity = process if isinstance(process, ProcessIdentity) else ProcessIdentity.of(pid)
            attached = cls(identity, logger)
        except ProcessLookupError:
            raise _not_running(pid) from None
        except OSError as error:
            message = f"process {pid} cannot be watched ({error.strerror}): raise the limit of open files"
            raise BridgeError(Code.RESOURCE_EXHAUSTED, message, reason="PLUGIN_START_FAILED") from None
        if not identity.is_running():  # looked at while the descriptor holds on to whatever has the number
            attached._let_go()
            raise _not_running(pid)
        return attached

    def describe_exit(self) -> str:
        """For people."""
        state = "is running" if self.exit is None else "has ended; how is known to who has started it"
        return f"plugin of process {self.pid} {state}"

    def kill(self) -> None:
        """SIGKILL for it, and for its process group if it leads one that is not ours: what it has started is in it.
        Does nothing if it has ended, or belongs to another user. Returns at once."""
        if self.exit is not None or self._ended.cancelled():
            return
        try:
            if os.getpgid(self.pid) == self.pid != os.getpgrp():
                self._kill_group()
            elif self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif self.identity.is_running():
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            self._logger.warning("plugin of process %d belongs to another user and cannot be killed", self.pid)

    async def aclose(self) -> None:
        """Lets go of the process, which may go on; who still waits for its end is cancelled."""
        self._let_go()
        self._ended.cancel()

    def _kill_group(self) -> None:
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL, None, _PIDFD_SIGNAL_PROCESS_GROUP)
                return
            except OSError as error:
                if error.errno != errno.EINVAL:  # else the kernel is older than that
                    raise
        if self.identity.is_running():
            os.killpg(self.pid, signal.SIGKILL)

    def _bury(self) -> Exit:
        self._logger.info("plugin of process %d has ended", self.pid)
        return Exit()


def _not_running(pid: int) -> BridgeError:
    message = f"reattachment process not found: no process {pid} runs that is the plugin; start it, or reattach anew"
    return BridgeError(Code.NOT_FOUND, message, reason="PLUGIN_NOT_RUNNING")

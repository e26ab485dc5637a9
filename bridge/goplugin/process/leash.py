"""What makes the kernel kill a plugin, and all it has started, when this process is gone, however it went.

The kernel sends a signal of our choice to a process group when the last write end of a pipe is closed (fcntl(2),
``F_SETSIG``), as ``bridge.runtime.death.die_as_group_with`` asks for from the inside. From the outside it takes nothing
but a descriptor that the plugin keeps open and knows nothing of. ``PR_SET_PDEATHSIG`` would take a program in between
that asks for it, spares all that the plugin has started, and minds the end of a thread.
"""

from __future__ import annotations

import fcntl
import os
import signal
import weakref

__all__ = ["Leash"]


class Leash:
    """A pipe; the process is started with ``theirs`` in ``pass_fds``. Raises ``OSError`` if there is no room."""

    def __init__(self) -> None:
        self.theirs = self._ours = -1
        self.theirs, self._ours = os.pipe()
        _leashes.add(self)

    def tie(self, group: int) -> None:
        """The kernel kills all of this process group at the end of this process, or when this is closed. The group has
        to have the read end by then."""
        fcntl.fcntl(self.theirs, fcntl.F_SETOWN, -group)
        fcntl.fcntl(self.theirs, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(self.theirs, fcntl.F_SETFL, os.O_ASYNC)
        self._close_theirs()

    def close(self) -> None:
        """Lets go, and so ends what is tied."""
        self._close_theirs()
        ours, self._ours = self._ours, -1
        if ours >= 0:
            os.close(ours)

    __del__ = close  # of a plugin that nobody can end any more, as its event loop is gone

    def _close_theirs(self) -> None:
        theirs, self.theirs = self.theirs, -1
        if theirs >= 0:
            os.close(theirs)


_leashes: weakref.WeakSet[Leash] = weakref.WeakSet()


def _let_go() -> None:
    for leash in list(_leashes):
        leash.close()


os.register_at_fork(after_in_child=_let_go)  # a child that lives on would keep the plugins

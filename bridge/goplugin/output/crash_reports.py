"""What ends a process, or a thread of it, goes straight to the host: what is captured may never get there any more."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from types import TracebackType

from bridge.goplugin.hclog import HclogHandler
from bridge.goplugin.output.start_failures import show_uncaught

__all__ = ["CrashReports"]


class CrashReports:
    """Has exceptions that nobody catches written to the plugin's real stderr, at error, and the tracebacks of crashes.

    Hooks that somebody has set before are called, too.

    Args:
        fd: the real stderr.
    """

    def __init__(self, fd: int) -> None:
        self._handler = HclogHandler(fd)
        self._sys_hook, self._thread_hook = sys.excepthook, threading.excepthook
        self._had_faulthandler = faulthandler.is_enabled()
        # Looked up once: ``undo`` has to find the same object.
        self._own = self._in_main, self._in_thread
        sys.excepthook, threading.excepthook = self._own
        faulthandler.enable(fd)

    def undo(self) -> None:
        """Has all as it was before; what was set by somebody else meanwhile stays."""
        in_main, in_thread = self._own
        if sys.excepthook is in_main:
            sys.excepthook = self._sys_hook
        if threading.excepthook is in_thread:
            threading.excepthook = self._thread_hook
        faulthandler.disable()
        if self._had_faulthandler:
            try:
                faulthandler.enable()
            except Exception:  # noqa: BLE001, S110 - there is no stderr, or none with a descriptor
                pass

    def _in_main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._report("an exception ended the plugin", kind, error, trace)
        if self._sys_hook not in (sys.__excepthook__, show_uncaught):
            self._sys_hook(kind, error, trace)

    def _in_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else "a thread"
            self._report(f"an exception ended {name}", args.exc_type, args.exc_value, args.exc_traceback)
        if self._thread_hook is not threading.__excepthook__:
            self._thread_hook(args)

    def _report(
        self, message: str, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cause = (kind, error or kind(), trace)
        record = logging.LogRecord("bridge.goplugin", logging.ERROR, __file__, 0, message, None, cause)
        self._handler.handle(record)

"""What a plugin logs on its stderr, as log records of its host."""

from __future__ import annotations

import logging
from pathlib import PurePath

from bridge.goplugin.log_entries import LogEntry, LogState, log_entry, parse_line

__all__ = ["PluginLogs"]


class PluginLogs:
    """Logs the lines of one process.

    Args:
        logger: of the host; records go to a child of it that has the program's name, as in go-plugin.
        program: its path.
    """

    def __init__(self, logger: logging.Logger, program: str) -> None:
        # A dot in it would be another level of loggers.
        self._logger = logger.getChild(PurePath(program).name.replace(".", "_") or "plugin")
        self._state = LogState()

    def line(self, line: bytes, is_whole: bool) -> None:
        """Logs a line; the pieces of one that is very long are text, at debug."""
        entry = parse_line(line, self._state) if is_whole else LogEntry(message=line.decode("utf-8", "replace"))
        log_entry(self._logger, entry)

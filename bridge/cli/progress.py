"""The bar that shows on stderr how far a streaming tool is, if people are watching."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bridge.cli.problems import printable

if TYPE_CHECKING:
    from bridge.call import Progress

__all__ = ["Screen"]


class Screen:
    """Draws a bar while its block runs, from the first note of progress on.

    Args:
        quiet: draw nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._on = sys.stderr.isatty() and not quiet
        self._shares_terminal = self._on and sys.stdout.isatty()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, progress: Progress) -> None:
        """Shows a note of progress."""
        if not self._on:
            return
        if self._bar is None:
            self._start()
        known = progress.fraction is not None
        self._bar.update(
            self._task,
            total=1.0 if known else None,
            completed=progress.fraction if known else 0.0,
            description=printable(progress.message),
        )

    def _start(self) -> None:
        from rich.console import Console  # only for terminals
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(40), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        console = Console(stderr=True)
        # What is printed stays on the stream it was printed to.
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the bar away while a value is written to the same terminal."""
        if self._bar is None or not self._shares_terminal:
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

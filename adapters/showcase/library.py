"""The files in `data/`, wherever this package is installed, even inside a zip."""

from functools import cache
from importlib.resources import files
from typing import Literal

__all__ = ["Source", "read_data", "read_lines"]

Source = Literal["gettysburg", "shakespeare"]
"""The texts that ship with the showcase; see `data/README.md`."""


@cache
def read_data(name: str) -> str:
    """Content of a file in `data/`."""
    package = __name__.rpartition(".")[0]
    return (files(package) / "data" / name).read_text(encoding="utf-8")


def read_lines(source: Source) -> list[str]:
    """Lines of a shipped text, without the empty ones."""
    return [line for line in read_data(f"{source}.txt").splitlines() if line]

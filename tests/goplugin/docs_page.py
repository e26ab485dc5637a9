"""docs/goplugin.md in parts, and a folder in which its programs run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

__all__ = [
    "CHECKOUT",
    "PAGE",
    "Piece",
    "Program",
    "arguments",
    "blocks",
    "files",
    "lay_out",
    "pieces",
    "programs",
    "run",
    "table",
]

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PAGE = CHECKOUT / "docs" / "goplugin.md"
LIMIT = 60.0
"""Seconds that a program may take."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
_BEFORE = "from notes_host import *\n\n\nasync def main():\n"
_AFTER = "\n\nasyncio.run(main())\n"


class Program(msgspec.Struct, frozen=True):
    """What is typed, and what appears."""

    command: str
    output: str


class Piece(msgspec.Struct, frozen=True):
    """A piece of a program that goes on from ``notes_host.py``."""

    heading: str
    code: str

    @property
    def program(self) -> str:
        """All of it."""
        body = "".join(f"    {line}" if line.strip() else line for line in self.code.splitlines(keepends=True))
        return f"{_BEFORE}{body}{_AFTER}"

    @property
    def output(self) -> str:
        """What the comments behind its ``print`` say."""
        return "".join(f"{text}\n" for text in _PRINTED.findall(self.code))


def blocks(kind: str) -> list[str]:
    """The blocks of a kind, as ``python``."""
    return [text for found, text in _BLOCK.findall(PAGE.read_text("utf-8")) if found == kind]


def files() -> dict[str, str]:
    """The programs that have a name, by it."""
    named = (re.match(r"# (\w+\.py)\n", text) for text in blocks("python"))
    return {found[1]: found.string for found in named if found is not None}


def pieces() -> list[Piece]:
    """Those that have none."""
    found = []
    heading = ""
    for part in re.split(r"^#+ ", PAGE.read_text("utf-8"), flags=re.MULTILINE):
        heading = part.partition("\n")[0]
        found += [Piece(heading, text) for kind, text in _BLOCK.findall(part) if kind == "python" and text[:2] != "# "]
    return found


def programs() -> list[Program]:
    """What the page shows of a terminal."""
    found = (text.removeprefix("$ ").partition("\n") for text in blocks("console"))
    return [Program(command, output) for command, _, output in found]


def table(heading: str) -> dict[str, list[str]]:
    """The first table below a heading: what stands beside each name in its first column, without what makes it code."""
    part = PAGE.read_text("utf-8").partition(f"# {heading}\n")[2].partition("\n#")[0]
    found = {}
    for line in part.splitlines():
        if line.startswith("| "):
            first, *cells = (cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
            found[first] = cells
    return found


def lay_out(folder: Path) -> None:
    """Writes all files of the page, and what its commands make of them."""
    for name, text in files().items():
        (folder / name).write_text(text, "utf-8")
    for stub in (HERE / "page").glob("*.txt"):
        shutil.copy(stub, folder / stub.stem)
    code, output = run(folder, "-m", "bridge", "certs", "certs", "--host", "localhost")
    assert code == 0, output


def run(folder: Path, *arguments: str, kills: bool = False) -> tuple[int, str]:
    """Python in the folder: exit code, and all that it prints. Plugins that are not killed leave nothing there."""
    before = set(folder.glob("plugin*"))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
    )
    assert kills or set(folder.glob("plugin*")) == before
    return done.returncode, done.stdout.decode()


def arguments(program: Program) -> Sequence[str]:
    """Those of its command, which is Python."""
    name, *rest = shlex.split(program.command)
    assert name == "python"
    return rest

"""Scenarios by id, and the tests that show them: ``python -m tests.scenarios`` writes ``tests/SCENARIOS.md``."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests.goplugin.scenarios import HOST, PLUGIN
from tests.jsonrpc.scenarios import CONCURRENCY, FRAMING, MESSAGES, SOCKETS, STDIO
from tests.worker.scenarios import WORKERS

__all__ = ["GROUPS", "PAGE", "page", "shown"]

TESTS = Path(__file__).parent
PAGE = TESTS / "SCENARIOS.md"

GROUPS = {
    "Worker processes": WORKERS,
    "JSON-RPC: messages": MESSAGES,
    "JSON-RPC: framing": FRAMING,
    "JSON-RPC: concurrency, cancelling, lifetime": CONCURRENCY,
    "JSON-RPC: Unix sockets": SOCKETS,
    "JSON-RPC: stdin and stdout": STDIO,
    "go-plugin: a Go host runs a plugin of ours": PLUGIN,
    "go-plugin: our host runs a plugin in Go": HOST,
}
"""What happens, and what is expected, by id."""

INTRODUCTION = """\
# Scenarios

What can happen, and the tests that show what becomes of it. Their names begin with the ids: `pytest -k J05`. This page
is made by `python -m tests.scenarios`.

GP33, Terraform or OpenTofu with a provider, needs one of the two, and is skipped where there is none.

What happens when any of the processes is killed at any moment of a call is in
[kill/test_matrix.py](kill/test_matrix.py).
"""

_TEST = re.compile(r"^ *(?:async )?def (test((?:_(?:w|gp|[JFCUS])\d\d)+)_\w+)", re.MULTILINE)


def shown() -> dict[str, dict[str, list[str]]]:
    """The names of the tests, by id and file."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, ids in _TEST.findall(path.read_text("utf-8")):
            for id in ids.strip("_").split("_"):
                found[id.upper()][str(path.relative_to(TESTS))].append(name)
    return found


def page() -> str:
    """The page, in Markdown."""
    tests = shown()
    lines = [INTRODUCTION]
    for title, scenarios in GROUPS.items():
        lines += [f"## {title}", ""]
        for id, (happens, expected) in scenarios.items():
            lines += [f"### {id}: {happens}", "", f"Expected: {expected}.", ""]
            for file, names in tests[id].items():
                lines.append(f"- [{file}]({file}): {', '.join(f'`{name}`' for name in names)}")
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

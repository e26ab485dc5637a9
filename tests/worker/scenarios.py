"""The scenarios of workers by number, and the tests that show them: ``python -m tests.worker.scenarios`` writes
``tests/SCENARIOS.md``."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

__all__ = ["PAGE", "SCENARIOS", "page", "shown"]

TESTS = Path(__file__).parents[1]
PAGE = TESTS / "SCENARIOS.md"

SCENARIOS = {
    1: ("a plugin in another Python, 3.9 or later, where nothing is installed", "works"),
    2: (
        "the interpreter, module or class is not there; `__init__` raises; the import raises, ends or crashes",
        "a typed error at once, with the traceback or the last lines of output; no process is left",
    ),
    3: ("an import takes long, or loading does and tells of its progress", "starts"),
    4: (
        "it takes longer than it may",
        "killed with all it has started; the error has the deadline and the last output",
    ),
    5: (
        "health while a worker is busy, or holds its interpreter",
        "answered; the worker is reported as unresponsive, not as dead",
    ),
    6: ("one of two running calls is cancelled", "only that one ends"),
    7: ("a cancel comes when its call has ended", "the next call does not notice"),
    8: (
        "SIGKILL, a crash, `os._exit(3)` or no memory in a call",
        "its caller is told signal or exit code; other calls go on; the next one gets another worker",
    ),
    9: ("workers die again and again", "none is started for a while, and callers are told so"),
    10: (
        "the server is killed, or ends at once; its thread that started workers ends",
        "workers and what they have started are gone in 2 s, whatever they print on",
    ),
    11: ("200 workers come and go", "no descriptor, thread, zombie, file or memory is left"),
    12: ("10 MB on stdout and stderr", "nothing hangs; what is kept is bounded"),
    13: ("10 MB and 1 GB in and out", "through shared memory, of which nothing is left when either side dies"),
    14: ("nested values, paths, dates, sets, NumPy scalars, NaN", "come back as `docs/values.md` says"),
    15: (
        "streams, from plain and async generators, left early or failing in the middle",
        "the generator is closed; the error comes after the values before it",
    ),
    16: ("one worker, and several", "as many calls run at once as are allowed"),
    17: ("the configuration is changed while a call runs", "waits for the call; calls that come wait for it"),
    18: ("a variable of the server's environment that is not allowed", "is nowhere in the plugin's"),
    19: (
        "a manifest of another version, with unknown fields, that others can write, with a relative interpreter",
        "refused with the reason",
    ),
    20: ("somebody else wants to connect to a worker", "there is no address to connect to"),
    21: ("two servers or programs use one manifest", "they have nothing in common"),
    22: ("the end comes while calls run", "they may end; then they are cancelled; then they are killed"),
}
"""What happens, and what is expected, by number."""

_TEST = re.compile(r"^(?:async )?def (test_w(\d\d)_\w+)", re.MULTILINE)


def shown() -> dict[int, list[tuple[str, str]]]:
    """The tests by number: file and name."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, number in _TEST.findall(path.read_text("utf-8")):
            found[int(number)].append((str(path.relative_to(TESTS)), name))
    return found


def page() -> str:
    """The page, in Markdown."""
    tests = shown()
    lines = [
        "# Scenarios of workers",
        "",
        "What can happen to a worker process, and the tests that show what becomes of it. Their names begin with the",
        "number: `pytest -k w08`. This page is made by `python -m tests.worker.scenarios`.",
        "",
        "What happens when any of the processes is killed at any moment of a call is in",
        "[kill/test_matrix.py](kill/test_matrix.py).",
    ]
    for number, (happens, expected) in SCENARIOS.items():
        lines += ["", f"## W{number:02}: {happens}", "", f"Expected: {expected}.", ""]
        files: dict[str, list[str]] = {}
        for file, name in tests[number]:
            files.setdefault(file, []).append(f"`{name}`")
        lines += [f"- [{file}]({file}): {', '.join(names)}" for file, names in files.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

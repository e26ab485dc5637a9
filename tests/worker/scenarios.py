"""The scenarios of workers; their tests are listed by ``tests.scenarios``."""

from __future__ import annotations

__all__ = ["WORKERS"]

WORKERS = {
    "W01": ("a plugin in another Python, 3.9 or later, where nothing is installed", "works"),
    "W02": (
        "the interpreter, module or class is not there; `__init__` raises; the import raises, ends or crashes",
        "a typed error at once, with the traceback or the last lines of output; no process is left",
    ),
    "W03": ("an import takes long, or loading does and tells of its progress", "starts"),
    "W04": (
        "it takes longer than it may",
        "killed with all it has started; the error has the deadline and the last output",
    ),
    "W05": (
        "health while a worker is busy, or holds its interpreter",
        "answered; the worker is reported as unresponsive, not as dead",
    ),
    "W06": ("one of two running calls is cancelled", "only that one ends"),
    "W07": ("a cancel comes when its call has ended", "the next call does not notice"),
    "W08": (
        "SIGKILL, a crash, `os._exit(3)` or no memory in a call",
        "its caller is told signal or exit code; other calls go on; the next one gets another worker",
    ),
    "W09": ("workers die again and again", "none is started for a while, and callers are told so"),
    "W10": (
        "the server is killed, or ends at once; its thread that started workers ends",
        "workers and what they have started are gone in 2 s, whatever they print on",
    ),
    "W11": ("200 workers come and go", "no descriptor, thread, zombie, file or memory is left"),
    "W12": ("10 MB on stdout and stderr", "nothing hangs; what is kept is bounded"),
    "W13": ("10 MB and 1 GB in and out", "through shared memory, of which nothing is left when either side dies"),
    "W14": ("nested values, paths, dates, sets, NumPy scalars, NaN", "come back as `docs/values.md` says"),
    "W15": (
        "streams, from plain and async generators, left early or failing in the middle",
        "the generator is closed; the error comes after the values before it",
    ),
    "W16": ("one worker, and several", "as many calls run at once as are allowed"),
    "W17": ("the configuration is changed while a call runs", "waits for the call; calls that come wait for it"),
    "W18": ("a variable of the server's environment that is not allowed", "is nowhere in the plugin's"),
    "W19": (
        "a manifest of another version, with unknown fields, that others can write, with a relative interpreter",
        "refused with the reason",
    ),
    "W20": ("somebody else wants to connect to a worker", "there is no address to connect to"),
    "W21": ("two servers or programs use one manifest", "they have nothing in common"),
    "W22": ("the end comes while calls run", "they may end; then they are cancelled; then they are killed"),
}
"""What happens, and what is expected, by the id that the names of the tests begin with."""

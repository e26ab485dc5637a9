"""Why a plugin's process did not become a plugin, in go-plugin's words and a few more."""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.goplugin.go_values import quote
from bridge.goplugin.log_entries import LAST_WORDS
from bridge.goplugin.process.program_file import interpreter_of_script, is_foreign, notes
from bridge.runtime.death import Exit
from bridge.worker.obituary import excerpt

__all__ = ["exited_early", "explained", "no_line", "not_found", "not_started", "printable", "timed_out"]

_NO_LINES = "Failed to read any lines from plugin's stdout"
_NO_ROOM = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))
_OF_PANIC = 6
"""Lines of Go's last words that tell what went wrong: the words, and the top of the first stack."""
_HINT = (
    "A plugin that prints no handshake line is usually built for another machine, misses a library or an interpreter, "
    "may not be run by this user, does not get the cookie it expects, or is no plugin at all."
)


def printable(text: str) -> str:
    """The text with all escaped that a terminal would not show as it is."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def not_found(name: str) -> BridgeError:
    """No directory of ``PATH`` has the program."""
    message = f"exec: {quote(name)}: executable file not found in $PATH; give its path, or install it"
    return _error(message, "PLUGIN_NOT_FOUND")


def not_started(path: str, cwd: str, error: OSError) -> BridgeError:
    """The system did not run a program: reason ``PLUGIN_NOT_FOUND``, ``PLUGIN_NOT_EXECUTABLE``,
    ``PLUGIN_ARCHITECTURE``, ``PLUGIN_DIRECTORY`` or ``PLUGIN_START_FAILED``.

    Args:
        path: of the program.
        cwd: where it was to work; empty: here.
        error: what the system said.
    """
    said = (error.strerror or "unknown error").lower()
    if cwd and error.filename == cwd:
        problem = f"chdir {cwd}: {said}; a plugin needs a working directory that is there"
        return _error(printable(problem), "PLUGIN_DIRECTORY")
    if error.errno in _NO_ROOM:
        problem = f"fork/exec {path}: {said}; raise the limits of processes, memory and open files, or start fewer"
        return _error(printable(problem), "PLUGIN_START_FAILED", Code.RESOURCE_EXHAUSTED)
    reason, advice = _refusal(path, error.errno)
    about = notes(path)
    return _error(printable(f"fork/exec {path}: {said}; {advice}") + (f"\n\n{about}" if about else ""), reason)


def _refusal(path: str, number: int | None) -> tuple[str, str]:
    about = notes(path)
    script = interpreter_of_script(path)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if not about:
            return "PLUGIN_NOT_FOUND", "there is no such file: correct the command, or install the plugin"
        if script:
            return "PLUGIN_NOT_EXECUTABLE", f"its first line names the interpreter {script!r}, which is not there"
        return "PLUGIN_NOT_EXECUTABLE", "its dynamic linker is not there: it is built for another system's libraries"
    if number in (errno.EACCES, errno.EPERM):
        if "  Mode: d" in about:
            return "PLUGIN_NOT_EXECUTABLE", "it is a directory: give the path of a program in it"
        asked = f", or its interpreter {script!r} is not" if script else ""
        advice = f"it is not executable by this user{asked}: see chmod(1), and the options of its file system"
        return "PLUGIN_NOT_EXECUTABLE", advice
    if number == errno.ENOEXEC:
        if is_foreign(path):
            return "PLUGIN_ARCHITECTURE", "it is for another machine: install the build for this one"
        return "PLUGIN_NOT_EXECUTABLE", "it is neither a program nor a script with a #! line, or it is damaged"
    return "PLUGIN_START_FAILED", "try again when that is mended"


def timed_out(path: str, seconds: float, lines: Sequence[str]) -> BridgeError:
    """DEADLINE_EXCEEDED, reason ``PLUGIN_START_TIMEOUT``."""
    message = (
        f"timeout while waiting for plugin to start: {path} has printed no line on stdout for {seconds:g} s; "
        "give it more time, or see what it waits for"
    )
    return _error(printable(message) + last_lines(lines), "PLUGIN_START_TIMEOUT", Code.DEADLINE_EXCEEDED)


def exited_early(path: str, exit_: Exit, lines: Sequence[str]) -> BridgeError:
    """UNAVAILABLE, reason ``PLUGIN_EXITED``; ``exit_code`` or ``signal`` is among its metadata."""
    message = printable(f"plugin exited before we could connect: {path} ended with {exit_.describe()}")
    if exit_.signal is None:
        metadata = {"exit_code": str(exit_.code)}
    else:
        is_named = exit_.signal in frozenset(signal.Signals)
        metadata = {"signal": signal.Signals(exit_.signal).name if is_named else str(exit_.signal)}
    return BridgeError(
        Code.UNAVAILABLE,
        f"{message}\n{_NO_LINES}{last_lines(lines)}\n\n{_HINT}\n\n{notes(path)}".rstrip(),
        reason="PLUGIN_EXITED",
        details=ErrorDetails(metadata=metadata),
    )


def no_line(path: str, lines: Sequence[str]) -> BridgeError:
    """It runs and has closed its stdout: FAILED_PRECONDITION, reason ``HANDSHAKE``."""
    problem = _error(f"Unrecognized remote plugin message: \n{_NO_LINES}; it has closed it", "HANDSHAKE")
    return explained(problem, path, lines)


def explained(error: BridgeError, path: str, lines: Sequence[str]) -> BridgeError:
    """The error with what is known about the program and what it said on stderr."""
    message = f"{error.message}{last_lines(lines)}\n\n{_HINT}\n\n{notes(path)}".rstrip()
    return BridgeError(error.code, message, reason=error.reason, details=error.details)


def last_lines(lines: Sequence[str]) -> str:
    """What a message says of the last lines of stderr; empty, if there are none. Of a plugin in Go that has crashed,
    why and where: most of what it says then are stacks."""
    shown = [printable(line) for line in lines]
    panic = max((number for number, line in enumerate(shown) if line.startswith(LAST_WORDS)), default=None)
    text = excerpt(shown if panic is None else shown[panic : panic + _OF_PANIC])
    return f"\nits stderr ended with:\n{text}" if text else ""


def _error(message: str, reason: str, code: Code = Code.FAILED_PRECONDITION) -> BridgeError:
    return BridgeError(code, message, reason=reason)

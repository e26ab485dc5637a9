"""How a command says that something went wrong: what, why and what to do next; for people or as JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.cli.exit_codes import ExitCode, exit_code_of
from bridge.errors import BridgeError, Code

__all__ = ["CallFailed", "OutputClosed", "Reporter", "answered", "error_document", "printable", "usage_error"]


class CallFailed(Exception):
    """What a server answered, or failed to answer; its reasons are its own, so they do not choose the exit code."""

    def __init__(self, error: BridgeError) -> None:
        super().__init__(str(error))
        self.error = error


class OutputClosed(Exception):
    """Whoever read our output has seen enough, as in ``bridge stream ... | head``."""


@contextmanager
def answered() -> Iterator[None]:
    """Goes around the calls to a server: their errors become ``CallFailed``."""
    try:
        yield
    except BridgeError as error:
        raise CallFailed(error) from error


def usage_error(message: str) -> BridgeError:
    """The command line itself is wrong."""
    return BridgeError(Code.INVALID_ARGUMENT, message, reason="USAGE")


_NEXT_BY_REASON = {
    "NOT_CONNECTED": "start a server with `bridge serve ADAPTER`, or name the address of one with --target",
    "TOOL_NOT_FOUND": "`bridge tools` lists the tools of the server",
    "STREAMING_TOOL": "call it with `bridge stream`",
    "STORE_UNAVAILABLE": "`bridge health bridge.v1.HostService` says when the host can reach its store again",
    "NO_HOST": "name the address of the host that keeps the sessions with --target",
    "NO_SESSION": "name an open session with --session or in BRIDGE_SESSION; `bridge session open` opens one",
    "SESSION_NOT_FOUND": "`bridge session ls` lists your sessions, `bridge session open` opens one",
    "SESSION_CLOSED": "`bridge session open` opens another one",
    "SESSION_EXPIRED": "`bridge session open --ttl SECONDS` opens one that lives longer",
    "VARIABLE_NOT_FOUND": "`bridge var ls` lists the variables of the session, `bridge var set` makes one",
    "VERSION_MISMATCH": "look at it again with `bridge var ls NAME`, then --expect the version it has now",
    "VERSION_GONE": "`bridge var history NAME` lists the versions that are kept",
    "WATCH_AHEAD": "watch without --resume, or in the session where that version came from",
    **dict.fromkeys(
        ("VALUE_REFUSED", "CONSTRAINT_VIOLATED"),
        "`bridge var ls NAME` shows the type and the constraints of a variable",
    ),
    **dict.fromkeys(
        ("TYPE_REFUSED", "CONSTRAINTS_REFUSED"), "`bridge var register --help` lists the types and the constraints"
    ),
    **dict.fromkeys(("NAME_REFUSED", "PATTERN_REFUSED", "PATTERN_UNSUPPORTED"), ""),  # said in the message
}
_NEXT_BY_CODE = {
    Code.INVALID_ARGUMENT: "`bridge tools NAME` shows the parameters of a tool, --help the options of a command",
    Code.UNAUTHENTICATED: "give a token with --token-file, or all there is to know with --client-config",
    Code.PERMISSION_DENIED: "ask whoever runs the server for the right to do this",
    Code.DEADLINE_EXCEEDED: "give the call more seconds with --timeout",
    Code.UNKNOWN: "the tool failed by itself; the log of the server has the traceback",
    Code.UNAVAILABLE: "`bridge health` says whether the server takes calls",
    Code.UNIMPLEMENTED: "the server may be older, or not the one that keeps the sessions: name that with --target",
    Code.RESOURCE_EXHAUSTED: "the message names the limit; the server's settings raise it",
}


def _next_step(error: BridgeError) -> str:
    return _NEXT_BY_REASON.get(error.reason, _NEXT_BY_CODE.get(error.code, ""))


def error_document(error: BridgeError) -> dict[str, Any]:
    """An error as the JSON document of ``--json-output``."""
    details = error.details
    document: dict[str, Any] = {
        "code": error.code.name,
        "message": error.message,
        "reason": error.reason,
        "violations": [{"field": v.field, "description": v.description} for v in details.violations],
        "retry_after": details.retry_after,
        "metadata": dict(details.metadata),
    }
    if details.debug is not None:
        document["debug"] = details.debug
    return {"error": document}


def printable(text: str) -> str:
    """Text from somewhere else, unable to move the cursor or recolour a terminal: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _red(text: str) -> str:
    """Coloured if stderr is a terminal that shall have colours (https://no-color.org)."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"\x1b[1;31m{text}\x1b[0m"


class Reporter:
    """Says what went wrong, in the form the user asked for.

    Args:
        debug: show tracebacks, ours and those a server sends.
        as_json: one document on stdout instead of lines on stderr.
    """

    def __init__(self, *, debug: bool = False, as_json: bool = False) -> None:
        self._debug = debug
        self._as_json = as_json

    def report(self, error: BridgeError, *, remote: bool = False) -> ExitCode:
        """Reports an error; ``remote`` if a server answered with it, or should have answered."""
        if self._debug:
            traceback.print_exception(error, file=sys.stderr)
        if self._as_json:
            print(json.dumps(error_document(error)), flush=True)  # noqa: T201 - the result of the command
        else:
            sys.stderr.write(self._text(error, remote))
            sys.stderr.flush()
        return ExitCode.FAILED if remote else exit_code_of(error)

    def _text(self, error: BridgeError, remote: bool) -> str:
        label = f"bridge: {error.code.name}" if remote else "bridge: error"
        if remote and error.reason not in ("", error.code.name):
            label += f" ({printable(error.reason)})"
        lines = [f"{_red(label)}: {printable(error.message)}"]
        unsaid = [violation for violation in error.violations if violation.field not in error.message]
        lines += [printable(f"  {violation.field}: {violation.description}") for violation in unsaid]
        lines += [printable(f"  {key}: {value}") for key, value in error.details.metadata.items()]
        if error.retry_after is not None:
            lines.append(f"  it can be tried again in {error.retry_after:g} s")
        if self._debug and error.details.debug:
            lines += ["  traceback of the server:", printable(error.details.debug)]
        if remote and (step := _next_step(error)):
            lines.append(f"  next: {step}")
        return "\n".join(lines) + "\n"

    def report_bug(self, error: Exception) -> ExitCode:
        """Reports an exception that nobody planned for."""
        hint = "" if self._debug else "; --debug shows the traceback"
        message = f"a mistake in tool-bridge itself, please report it ({type(error).__name__}: {error}){hint}"
        bug = BridgeError(Code.INTERNAL, message, reason="INTERNAL")
        bug.__cause__ = error
        return self.report(bug, remote=True)

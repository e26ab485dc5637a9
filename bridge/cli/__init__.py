"""The command line.

``bridge serve``, ``bridge host``, ``bridge stdio`` and ``bridge plugin`` shall be ready as soon as a bare gRPC server
is, so their flags are read by a small parser from the one table of settings, and everything else in this package is
imported when it is needed: typer and rich for help, errors of usage and the other commands, and inside each command
what only that command uses.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from bridge.cli.exit_codes import ExitCode
from bridge.cli.problems import CallFailed, OutputClosed, Reporter
from bridge.errors import BridgeError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code of the process.

    Args:
        arguments: those of the command line, without the name of the program; ``sys.argv`` by default.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _keep_standard_streams()
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    # Looked for before anything is parsed: wrong usage shall be reported in the form that was asked for, too.
    reporter = Reporter(debug="--debug" in options, as_json="--json-output" in options)
    try:
        return _run(arguments, reporter)
    except CallFailed as failure:
        return reporter.report(failure.error, remote=True)
    except BridgeError as error:
        return reporter.report(error)
    except KeyboardInterrupt:
        sys.stderr.write("bridge: interrupted\n")
        return ExitCode.INTERRUPTED
    except (OutputClosed, BrokenPipeError):
        _forget_output()
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the edge of the process: users get no traceback
        return reporter.report_bug(error)


def _run(arguments: list[str], reporter: Reporter) -> int:
    if arguments[:1] in (["serve"], ["host"], ["stdio"]):
        # What is imported lives as long as the server: looking for garbage in it takes time and finds none.
        gc.disable()
        from bridge.cli.flags import parse
        from bridge.cli.serve import serve
        from bridge.cli.stdio import stdio

        if (parsed := parse(arguments[1:])) is not None:
            if arguments[0] == "stdio":
                return stdio(*parsed)
            return serve("bridge" if arguments[0] == "serve" else "host", *parsed)
    if arguments[:1] == ["plugin"]:
        gc.disable()
        from bridge.cli.plugin_serving import run_quickly

        if (code := run_quickly(arguments[1:])) is not None:
            return code
    from bridge.cli.app import run

    code = run(arguments, reporter)
    sys.stdout.flush()  # here, where a closed pipe is expected, and not at the end of the interpreter
    return code


def _keep_standard_streams() -> None:
    """Opens what the parent closed of stdin, stdout and stderr: else the next socket takes the place of one of them,
    and what a library prints goes into it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has no object for a stream that was closed when it began.
    sys.stdout = sys.stdout or _text_stream(1)
    sys.stderr = sys.stderr or _text_stream(2)


def _text_stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", closefd=False)


def _forget_output() -> None:
    """Lets the interpreter flush stdout at its end without an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

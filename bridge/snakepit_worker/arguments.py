"""What a pool tells a worker it launches, by flags and by environment, in one value.

Flags and variables are those of Snakepit's own server, and some of ours. Flags win over variables, but for the
heartbeat's, where the pool's variable wins. A flag that nobody knows is no error: the pool of tomorrow may have more.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import msgspec

from bridge.errors import BridgeError, Code
from bridge.snakepit_worker.heartbeat_options import HeartbeatOptions, heartbeat_options

__all__ = ["AUTO_ISOLATION", "WorkerOptions", "read_options"]

AUTO_ISOLATION = "plain-process"
"""What ``--isolation auto`` is for ``ServerConfig``."""

Isolation = Literal["auto", "inline", "thread", "process"]
Results = Literal["exact", "stock"]

_LOG_LEVELS = ("debug", "info", "warning", "error", "none")


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker was launched."""

    adapter: str = ""
    """What to serve: ``package.module.Class`` as Snakepit writes it, or anything that ``bridge serve`` takes."""
    port: int = 0
    """0: any free one."""
    elixir_address: str = ""
    """Where the BEAM listens for its workers; empty: nowhere."""
    settings: Mapping[str, Any] = {}
    """Flags that are settings of ``ServerConfig``, by key."""
    connect_tries: int = 60
    """How often the BEAM's listener is tried before the worker gives up."""
    heartbeat: HeartbeatOptions = HeartbeatOptions()
    ready_file: Path | None = None
    """Where the pool waits for the port."""
    lead_group: bool = False
    """Whether to become the leader of a process group, which the pool then stops as a whole."""
    log_level: str = "error"
    """``debug``, ``info``, ``warning``, ``error`` or ``none``."""
    health_check: bool = False
    """Only look whether the adapter can be imported."""
    ignored: tuple[str, ...] = ()
    """Flags that nobody knows, without their values."""


def read_options(arguments: Sequence[str], environ: Mapping[str, str]) -> WorkerOptions:
    """What flags and variables say.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``USAGE``, for values that cannot be; ``SystemExit`` after
    ``--help``.
    """
    given, rest = _parser().parse_known_args(arguments)
    address = given.elixir_address or environ.get("SNAKEPIT_GRPC_ADDRESS") or environ.get("SNAKEPIT_ELIXIR_ADDRESS")
    level = environ.get("SNAKEPIT_LOG_LEVEL", "").strip().lower()
    ready_file = environ.get("SNAKEPIT_READY_FILE", "")
    return WorkerOptions(
        adapter=given.adapter,
        port=given.port,
        elixir_address=address or "",
        settings=_settings(given),
        connect_tries=given.connect_tries,
        heartbeat=heartbeat_options(vars(given), environ.get("SNAKEPIT_HEARTBEAT_CONFIG", "")),
        ready_file=Path(ready_file) if ready_file else None,
        lead_group=_is_true(environ.get("SNAKEPIT_PROCESS_GROUP", "")),
        log_level=level if level in _LOG_LEVELS else "error",
        health_check=given.health_check,
        ignored=tuple(text.partition("=")[0] for text in rest if text.startswith("-")),
    )


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    settings = {
        "host": given.host,
        "isolation": AUTO_ISOLATION if given.isolation == "auto" else given.isolation,
        "snakepit_results": given.results,
        "workers": given.max_workers,
        "debug": given.debug,
        "redact_errors": given.redact_errors,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _is_true(text: str) -> bool:
    """Whether a variable means yes, as Snakepit's own server reads them."""
    return text.strip().lower() in ("1", "true", "yes", "on")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        problem = f"{message}; `{self.prog} --help` lists the flags"
        raise BridgeError(Code.INVALID_ARGUMENT, problem, reason="USAGE")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="grpc_server.py",
        allow_abbrev=False,
        formatter_class=partial(argparse.HelpFormatter, width=100),  # that of the terminal takes a while to import
        description="A worker of a Snakepit pool. The pool starts it; docs/elixir.md tells how to point one here.",
        epilog="All other settings of `bridge serve` are taken from the environment (BRIDGE_GRACE and so on) and from"
        " the file that BRIDGE_CONFIG names; docs/configuration.md lists them. Exit codes: 0 stopped by the pool; 1"
        " failed; 2 wrong usage; 143 stopped before it was ready; killed by SIGKILL: the BEAM was gone.",
    )
    _add_of_snakepit(parser)
    _add_heartbeat(parser)
    _add_own(parser)
    return parser


def _add_of_snakepit(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the pool says")
    group.add_argument("--adapter", default="", metavar="SPEC", help="package.module.Class, or as for `bridge serve`")
    group.add_argument("--port", type=_Number(0, 65535), default=0, help="port to listen on; 0 (default): any free one")
    group.add_argument("--elixir-address", metavar="HOST:PORT", help="where the BEAM listens for its workers")
    for name in ("--snakepit-run-id", "--run-id", "--snakepit-instance-name", "--snakepit-instance-token"):
        group.add_argument(name, metavar="TEXT", help="by which the pool finds its processes")
    group.add_argument("--health-check", action="store_true", help="only import the adapter; exit code 0 or 1")
    group.add_argument("--thread-safety-check", action="store_true", help="accepted; has no effect")


def _add_heartbeat(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("heartbeats to the BEAM (SNAKEPIT_HEARTBEAT_CONFIG wins)")
    group.add_argument("--heartbeat-enabled", action="store_true", default=None, help="send them")
    group.add_argument("--heartbeat-interval-ms", type=int, metavar="MS")
    group.add_argument("--heartbeat-timeout-ms", type=int, metavar="MS")
    group.add_argument("--heartbeat-max-missed", type=int, metavar="N", dest="heartbeat_max_missed_heartbeats")
    group.add_argument("--heartbeat-initial-delay-ms", type=int, metavar="MS")
    group.add_argument("--heartbeat-dependent", action="store_true", default=None, help="stop when too many are missed")
    group.add_argument(
        "--heartbeat-independent", action="store_false", dest="heartbeat_dependent", help="go on all the same"
    )


def _add_own(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("ours")
    group.add_argument(
        "--host", metavar="ADDRESS", help="`bridge host` or client.json: who keeps session variables (BRIDGE_HOST)"
    )
    group.add_argument(
        "--isolation", type=_OneOf(Isolation), metavar="WHERE",
        help="where tools run that do not say: inline, thread, process; auto (default): plain ones in a worker "
        "process, asynchronous ones inline (BRIDGE_ISOLATION)",
    )  # fmt: skip
    group.add_argument(
        "--results", type=_OneOf(Results), metavar="HOW",
        help="exact (default); stock: as Snakepit's own server writes them (BRIDGE_SNAKEPIT_RESULTS)",
    )  # fmt: skip
    group.add_argument(
        "--max-workers", type=_Number(1, 1024), metavar="N", help="worker processes; default 1 (BRIDGE_WORKERS)"
    )
    group.add_argument(
        "--connect-tries", type=_Number(1, 10_000), default=60, metavar="N",
        help="how often the BEAM's listener is tried; default 60, which takes some two minutes",
    )  # fmt: skip
    group.add_argument("--debug", action="store_true", default=None, help="send tracebacks (BRIDGE_DEBUG)")
    group.add_argument(
        "--redact-errors", action="store_true", default=None, help="hide exceptions' messages (BRIDGE_REDACT_ERRORS)"
    )


class _Number:
    """Reads a number."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and self._low <= int(text) <= self._high):
            raise argparse.ArgumentTypeError(f"a number from {self._low} to {self._high} is needed")
        return int(text)


class _OneOf:
    """Reads one of a few words."""

    def __init__(self, literal: object) -> None:
        self._allowed = get_args(literal)

    def __call__(self, text: str) -> str:
        if text not in self._allowed:
            raise argparse.ArgumentTypeError(f"one of {', '.join(self._allowed)} is needed")
        return text

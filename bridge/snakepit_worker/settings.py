"""What a worker is as a server: our configuration, with the defaults that a pool expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, MutableMapping
from typing import Any

from bridge.config import DAY, MIB, SETTINGS, ServerConfig, settle
from bridge.errors import BridgeError, Code
from bridge.snakepit.otel import otel_environment
from bridge.snakepit_worker.arguments import AUTO_ISOLATION, WorkerOptions

__all__ = ["foreign_variables", "limit_threads", "prepare_environment", "server_config"]

MAX_DURATION = 7 * DAY
"""Seconds of a call without a deadline, which this wire knows."""

_DEFAULTS: Mapping[str, Any] = {
    "isolation": AUTO_ISOLATION,
    "workers": 1,  # a pool has one call at a time for each of its workers
    "default_timeout": MAX_DURATION,
    "max_timeout": MAX_DURATION,
    "grace": 2.0,  # the pool kills what has not ended 6 s after SIGTERM
    "max_message_bytes": 100 * MIB,
    "log_format": "console",
    "reflection": "off",
}
_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def server_config(options: WorkerOptions, environ: Mapping[str, str]) -> ServerConfig:
    """The configuration of a worker that listens nowhere yet.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``CONFIG``, or ``USAGE`` without an adapter.
    """
    adapters = [options.adapter] if options.adapter else []
    foreign = foreign_variables(environ)
    environ = {name: value for name, value in environ.items() if name not in foreign}
    settled = settle(None, environ, {**options.settings, "adapters": adapters})
    if not settled.config.adapters:
        message = "no adapter: give --adapter package.module.Class, in Elixir as `adapter_args` of the pool"
        raise BridgeError(Code.INVALID_ARGUMENT, message, reason="USAGE")
    level = "error" if options.log_level == "none" else options.log_level  # main switches off what is left
    # Elixir's exceptions have tracebacks, as those of stock workers: the pool is who has launched this process.
    usual = {**_DEFAULTS, "log_level": level, "debug": not settled.config.redact_errors}
    usual = {key: value for key, value in usual.items() if settled.provenance[key].kind == "default"}
    return dataclasses.replace(settled.config, **usual, snakepit=True, ready_file=None, write_client=None)


def foreign_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: the environment is that of a whole BEAM, and a pool cannot take
    anything out of it, so they are ignored."""
    known = {setting.env for setting in SETTINGS} | {"BRIDGE_CONFIG"}
    return sorted(name for name in environ if name.startswith("BRIDGE_") and name not in known)


def prepare_environment(options: WorkerOptions, environ: MutableMapping[str, str]) -> None:
    """Says what worker processes, and libraries, look for in the environment."""
    environ.update(otel_environment(environ))
    if options.elixir_address:
        environ["SNAKEPIT_ELIXIR_ADDRESS"] = options.elixir_address


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """Has libraries for linear algebra use one thread, where nobody has said otherwise: a pool has many workers.

    They look when they are imported.
    """
    for name in _THREADS:
        environ.setdefault(name, "1")

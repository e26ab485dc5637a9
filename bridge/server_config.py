"""What can be set of a server.

Every setting is one field of ``ServerConfig`` with its default, limits and help beside it; flags, names in the
environment and ``docs/configuration.md`` are made from them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bridge import config_checks
from bridge.errors import FieldViolation
from bridge.settings import Setting, about, refuse, settings_of
from bridge.stores import check_store_url

__all__ = ["DAY", "MIB", "SETTINGS", "ServerConfig"]

KIB, MIB, GIB = 1024, 1024**2, 1024**3
DAY = 86400.0

_ADDRESSES, _SECURITY, _CALLS = "Adapters and addresses", "Security", "Calls and limits"
_WORKERS, _RAY = "Worker processes", "Workers on a Ray cluster"
_SESSIONS, _OBSERVE = "Sessions of the host", "Logs, traces and metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything a server can be told. Durations are seconds; sizes are bytes; empty text or no path means "not set".

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CONFIG``, with a violation for each wrong field.
    """

    adapters: tuple[str, ...] = field(
        default=(),
        metadata=about(
            _ADDRESSES,
            "What to serve: package.module:Class, path/to/file.py:Class, the name of an installed entry point, or the "
            "manifest of a plugin: its file (.toml, .json), or plugin:NAME.",
            check=config_checks.specs,
            flag="ADAPTER",
        ),
    )
    listen: tuple[str, ...] = field(
        default=("127.0.0.1:50051",),
        metadata=about(
            _ADDRESSES,
            "Addresses to serve: host:port (port 0: any free one), unix:/path, or unix: for one of the user's own.",
            check=config_checks.addresses,
        ),
    )
    jsonrpc: str = field(
        default="",
        metadata=about(
            _ADDRESSES,
            "Unix socket that speaks JSON-RPC: unix:/path, or unix: for one of the user's own; empty: none. Without "
            "--listen, nothing else is spoken.",
            check=config_checks.optional_socket,
        ),
    )
    framing: Literal["content-length", "newline"] = field(
        default="content-length",
        metadata=about(
            _ADDRESSES, "How messages of JSON-RPC are told apart: by a header with their length, or by lines."
        ),
    )
    idle_timeout: float = field(
        default=0.0,
        metadata=about(
            _ADDRESSES,
            "Seconds without a connection after which a server that speaks JSON-RPC only ends; 0, or --no-timeout: it "
            "does not.",
            low=0.0,
            high=365 * DAY,
        ),
    )
    host: str = field(
        default="",
        metadata=about(
            _ADDRESSES,
            "HostService that owns sessions: its address, or a client.json for it; empty: this server has its own.",
            check=config_checks.target,
        ),
    )
    engine: Literal["grpcio"] = field(
        default="grpcio", metadata=about(_ADDRESSES, "HTTP/2 implementation under the gRPC frontend.")
    )
    ready_file: Path | None = field(
        default=None,
        metadata=about(
            _ADDRESSES, "File to write, all at once, when the server is ready: JSON with `addresses` and `pid`."
        ),
    )
    snakepit: bool = field(
        default=False,
        metadata=about(
            _ADDRESSES, "Speak the wire of Snakepit, too: a host to its workers, a server as one of its workers."
        ),
    )
    snakepit_results: Literal["exact", "stock"] = field(
        default="exact",
        metadata=about(
            _ADDRESSES,
            "What Snakepit's callers get: exact values, or what its stock server makes of them: None as text, integers "
            "as floats.",
        ),
    )
    snakepit_thread_sensitive: str = field(
        default="",
        metadata=about(
            _ADDRESSES,
            "Calls of Snakepit's that need the main thread, by the library they name: module or module.function, "
            "separated by commas.",
        ),
    )
    reflection: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=about(_ADDRESSES, "gRPC reflection; auto: only if every address is loopback or a Unix socket."),
    )

    insecure: bool = field(
        default=False,
        metadata=about(
            _SECURITY, "Serve addresses that other machines can reach without TLS or without authentication."
        ),
    )
    tls_cert: Path | None = field(default=None, metadata=about(_SECURITY, "Certificate chain of the server (PEM)."))
    tls_key: Path | None = field(default=None, metadata=about(_SECURITY, "Private key of the server (PEM, mode 600)."))
    tls_client_ca: Path | None = field(
        default=None, metadata=about(_SECURITY, "Authority whose certificates clients must show (PEM): mutual TLS.")
    )
    tokens: Path | None = field(
        default=None,
        metadata=about(
            _SECURITY, "File of bearer tokens, `name token` on a line (mode 600); read again when it changes."
        ),
    )
    write_client: Path | None = field(
        default=None,
        metadata=about(
            _SECURITY, "File to write with what a client needs to connect: address, authority, token file (JSON)."
        ),
    )
    redact_errors: bool = field(
        default=False, metadata=about(_SECURITY, "Hide the messages of tools' exceptions from clients.")
    )
    debug: bool = field(default=False, metadata=about(_SECURITY, "Send tracebacks to clients."))

    default_timeout: float = field(
        default=300.0,
        metadata=about(_CALLS, "Seconds a call may take if its client sets no deadline.", low=0.001, high=30 * DAY),
    )
    max_timeout: float = field(
        default=3600.0,
        metadata=about(_CALLS, "Most seconds a call may take, whatever its client asks.", low=0.001, high=30 * DAY),
    )
    grace: float = field(
        default=10.0, metadata=about(_CALLS, "Seconds running calls may go on after SIGTERM.", low=0.0, high=DAY)
    )
    max_message_bytes: int = field(
        default=16 * MIB, metadata=about(_CALLS, "Largest message, in and out.", low=KIB, high=2 * GIB - 1)
    )
    max_metadata_bytes: int = field(
        default=16 * KIB, metadata=about(_CALLS, "Largest metadata of a call.", low=8 * KIB, high=MIB)
    )
    max_concurrent_calls: int = field(
        default=256, metadata=about(_CALLS, "Calls of tools at one time.", low=1, high=1_000_000)
    )
    max_in_flight_bytes: int = field(
        default=256 * MIB,
        metadata=about(_CALLS, "Bytes of requests held at one time, over all calls.", low=KIB, high=1024 * GIB),
    )
    threads: int = field(
        default=min(32, max(8, 4 * (os.cpu_count() or 1))),
        metadata=about(_CALLS, "Threads for synchronous tools.", low=1, high=1024, default_text="4 per CPU, 8 to 32"),
    )
    queue_size: int = field(
        default=256,
        metadata=about(
            _CALLS, "Calls that may wait for a thread or a worker; one more is refused.", low=0, high=1_000_000
        ),
    )
    isolation: Literal["", "inline", "thread", "process", "call", "ray", "plain-process"] = field(
        default="",
        metadata=about(
            _CALLS,
            "Where tools run that do not say; empty: asynchronous ones inline, synchronous ones in a thread; "
            "plain-process: these in a process.",
        ),
    )

    workers: int = field(
        default=min(8, max(2, os.cpu_count() or 1)),
        metadata=about(
            _WORKERS,
            "Worker processes, started when needed, for tools of isolation process; as many again for call.",
            low=1,
            high=1024,
            default_text="1 per CPU, 2 to 8",
        ),
    )
    worker_max_calls: int = field(
        default=0,
        metadata=about(_WORKERS, "Calls after which a worker is replaced; 0: never.", low=0, high=1_000_000_000),
    )
    worker_ttl: float = field(
        default=0.0,
        metadata=about(_WORKERS, "Seconds after which a worker is replaced; 0: never.", low=0.0, high=365 * DAY),
    )
    worker_max_rss: int = field(
        default=0,
        metadata=about(
            _WORKERS,
            "Resident memory after which a worker, with all it has started, is replaced; 0: any.",
            low=0,
            high=1024 * GIB,
        ),
    )
    worker_grace: float = field(
        default=1.0,
        metadata=about(
            _WORKERS, "Seconds a cancelled tool has to end before its process is killed.", low=0.0, high=3600.0
        ),
    )
    reload: bool = field(
        default=False,
        metadata=about(
            _WORKERS,
            "For development: run all tools in worker processes, and exchange them when a file has changed.",
        ),
    )

    ray_address: str = field(
        default="auto",
        metadata=about(
            _RAY,
            "Cluster for tools of isolation ray: auto, the one that this machine is a node of; local, one that lives "
            "as long as the server; host:port; or ray://host:port, from a machine that is no node.",
            check=config_checks.cluster,
        ),
    )
    ray_namespace: str = field(
        default="", metadata=about(_RAY, "Namespace in which these tools find named actors; empty: one of their own.")
    )
    ray_runtime_env: Path | None = field(
        default=None,
        metadata=about(
            _RAY,
            "JSON file with the runtime environment of the workers, as Ray describes it: working_dir, pip, env_vars.",
        ),
    )
    ray_workers: int = field(
        default=8,
        metadata=about(
            _RAY, "Workers on the cluster at one time for tools that need the same resources.", low=1, high=10_000
        ),
    )
    ray_idle: float = field(
        default=300.0,
        metadata=about(
            _RAY,
            "Seconds without a call after which a worker ends and gives its resources back; 0: never.",
            low=0.0,
            high=365 * DAY,
        ),
    )
    ray_start_timeout: float = field(
        default=60.0,
        metadata=about(_RAY, "Seconds for a worker to find room on the cluster, and then to start.", low=0.1, high=DAY),
    )

    store: str = field(
        default="memory",
        metadata=about(
            _SESSIONS,
            "Where sessions are kept: memory, sqlite:PATH (survives a crash), or redis://HOST:PORT/DB (several hosts).",
            check=check_store_url,
        ),
    )
    sessions: Literal["strict", "auto-open"] = field(
        default="strict",
        metadata=about(
            _SESSIONS, "A session nobody opened: strict refuses it, auto-open opens it for whoever uses it first."
        ),
    )
    session_ttl: float = field(
        default=3600.0,
        metadata=about(_SESSIONS, "Seconds a session lives without being used.", low=1.0, high=365 * DAY),
    )
    trusted_principals: tuple[str, ...] = field(
        default=(),
        metadata=about(
            _SESSIONS,
            "Principals, such as token:bridge, that may use sessions of any owner: bridges that use this host.",
        ),
    )
    max_sessions: int = field(
        default=10_000, metadata=about(_SESSIONS, "Open sessions at one time.", low=1, high=10_000_000)
    )
    max_variables: int = field(
        default=1000, metadata=about(_SESSIONS, "Variables of one session.", low=1, high=1_000_000)
    )
    max_variable_bytes: int = field(
        default=8 * MIB, metadata=about(_SESSIONS, "Largest variable.", low=KIB, high=2 * GIB - 1)
    )
    max_session_bytes: int = field(
        default=64 * MIB,
        metadata=about(_SESSIONS, "Variables of one session together, and their history.", low=KIB, high=1024 * GIB),
    )
    history_entries: int = field(
        default=100,
        metadata=about(_SESSIONS, "Earlier values kept of one variable, for history and watches.", low=0, high=100_000),
    )
    history_bytes: int = field(default=16 * MIB, metadata=about(_SESSIONS, "Bytes of these.", low=0, high=1024 * GIB))
    max_watches: int = field(
        default=64, metadata=about(_SESSIONS, "Watches of one session at one time.", low=1, high=1_000_000)
    )

    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=about(_OBSERVE, "Least severe lines to log.")
    )
    log_format: Literal["auto", "console", "json"] = field(
        default="auto", metadata=about(_OBSERVE, "Form of log lines; auto: console on a terminal, otherwise json.")
    )
    audit: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=about(
            _OBSERVE, "One log line for each call, without values; auto: if clients have to authenticate themselves."
        ),
    )
    tracing: str = field(
        default="auto",
        metadata=about(
            _OBSERVE,
            "OpenTelemetry tracing: off, an OTLP endpoint (http://host:4317), or auto: what the process has set up.",
            check=config_checks.tracing,
        ),
    )
    metrics: str = field(
        default="",
        metadata=about(
            _OBSERVE,
            "Address of a Prometheus endpoint, such as 127.0.0.1:9464; empty: none.",
            check=config_checks.optional_address,
        ),
    )

    def __post_init__(self) -> None:
        problems = [
            FieldViolation(setting.key, problem)
            for setting in SETTINGS
            if (problem := setting.problem(getattr(self, setting.key)))
        ]
        refuse(problems or _contradictions(self))


def _contradictions(config: ServerConfig) -> list[FieldViolation]:
    """What each setting may be and both together may not."""
    found = []
    if (config.tls_cert is None) != (config.tls_key is None):
        missing, there = ("tls_key", "tls_cert") if config.tls_key is None else ("tls_cert", "tls_key")
        found.append(FieldViolation(missing, f"needed, because {there} is set"))
    if config.tls_client_ca is not None and config.tls_cert is None:
        found.append(FieldViolation("tls_client_ca", "needs tls_cert and tls_key"))
    if config.default_timeout > config.max_timeout:
        found.append(FieldViolation("default_timeout", f"is more than max_timeout ({config.max_timeout:g})"))
    if config.max_message_bytes > config.max_in_flight_bytes:
        limit = f"is more than max_in_flight_bytes ({config.max_in_flight_bytes})"
        found.append(FieldViolation("max_message_bytes", f"{limit}: the largest message could never be taken"))
    if not config.listen:
        if not config.jsonrpc:
            found.append(FieldViolation("listen", "at least one address is needed, here or as jsonrpc"))
        if config.write_client is not None:
            found.append(FieldViolation("write_client", "describes an address of listen, and there is none"))
    elif config.jsonrpc in config.listen:
        found.append(FieldViolation("jsonrpc", "is an address of listen, too: a socket speaks one of them"))
    elif config.idle_timeout:
        if config.jsonrpc:
            problem = "knows nothing of clients at listen: leave one of them out"
        else:
            problem = "is for servers that speak JSON-RPC only: set jsonrpc, too, or leave it out"
        found.append(FieldViolation("idle_timeout", problem))
    if config.debug and config.redact_errors:
        found.append(FieldViolation("debug", "sends tracebacks, which redact_errors is to hide; choose one of them"))
    return found


SETTINGS: tuple[Setting, ...] = tuple(settings_of(ServerConfig))
"""The one table of settings, in the order of the documentation."""

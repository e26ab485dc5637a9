"""What ``bridge doctor`` looks at. Each check gives findings; a problem says what to do about it."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bridge.config import ServerConfig
from bridge.errors import BridgeError, Code
from bridge.listeners import Address, TcpAddress, UnixAddress, parse_address, probe_tcp, require_secure

__all__ = [
    "CORE_PACKAGES",
    "OPTIONAL_PACKAGES",
    "Finding",
    "check_adapters",
    "check_addresses",
    "check_host",
    "check_installation",
    "check_security",
    "check_store",
]

CORE_PACKAGES = (
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "googleapis-common-protos",
    "protobuf",
    "msgspec",
    "tenacity",
    "opentelemetry-api",
    "typer",
    "rich",
)
OPTIONAL_PACKAGES = {
    "numpy": "numpy",
    "pyarrow": "arrow",
    "cryptography": "tls",
    "google-re2": "patterns",
    "opentelemetry-sdk": "otel",
    "prometheus-client": "metrics",
}
"""Packages that something needs, and the extra that installs each."""
STUBS = tuple(f"{name}_{kind}" for name in ("bridge", "host", "plugin", "values") for kind in ("pb2", "pb2_grpc"))
ANSWER_TIMEOUT = 2.0
"""Seconds to wait for whoever has an address."""


class Finding(msgspec.Struct, frozen=True):
    """What a check found."""

    area: str
    status: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""
    """What to do; every problem has one."""


def _problem(area: str, error: BridgeError) -> Finding:
    """An error of ours; its message says what to do."""
    return Finding(area, "problem", error.message, "see the message")


def check_installation() -> Iterator[Finding]:
    """The interpreter, the packages, the protobuf backend, the generated code."""
    version = ".".join(map(str, sys.version_info[:3]))
    # An interpreter that is too old does not get this far: the package does not install there.
    yield Finding("interpreter", "ok", f"Python {version}, {sys.executable}")
    yield from _check_packages()
    yield _check_backend()
    yield _check_stubs()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_packages() -> Iterator[Finding]:
    for package in CORE_PACKAGES:
        if (version := _version(package)) is not None:
            yield Finding("packages", "ok", f"{package} {version}")
        else:
            yield Finding("packages", "problem", f"{package} is missing", f"pip install {package}")
    for package, extra in OPTIONAL_PACKAGES.items():
        if (version := _version(package)) is not None:
            yield Finding("packages", "ok", f"{package} {version}")
        else:
            yield Finding(
                "packages", "note", f"{package} is not installed (optional: pip install 'tool-bridge[{extra}]')"
            )


def _check_backend() -> Finding:
    from google.protobuf.internal import api_implementation  # the one place that tells

    backend = api_implementation.Type()
    if backend != "python":
        return Finding("protobuf", "ok", f"protobuf uses its fast backend ({backend})")
    return Finding(
        "protobuf",
        "problem",
        "protobuf uses its backend in pure Python, which is about ten times slower",
        "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION and reinstall it as a wheel: "
        "pip install --force-reinstall --only-binary :all: protobuf",
    )


def _check_stubs() -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # protobuf warns of code that is nearly too old
            for stub in STUBS:
                importlib.import_module(f"bridge.v1.{stub}")
    except Exception as error:  # noqa: BLE001 - the runtimes raise errors of several kinds here
        text = f"the generated code in bridge/v1 does not fit the installed protobuf and grpcio ({error})"
        return Finding("stubs", "problem", text, "pip install --upgrade protobuf grpcio")
    text = f"the generated code in bridge/v1 fits protobuf {_version('protobuf')} and grpcio {_version('grpcio')}"
    return Finding("stubs", "ok", text)


def check_security(config: ServerConfig) -> Iterator[Finding]:
    """Certificates, tokens, and whether the addresses may be served with them."""
    from bridge.security import TokenFile, load_tls

    area = "security"
    try:
        tls = None
        if config.tls_cert is not None and config.tls_key is not None:
            tls = load_tls(config.tls_cert, config.tls_key, config.tls_client_ca)
            yield Finding(area, "ok", f"the certificate {config.tls_cert} and its key can be used")
        if config.tokens is not None:
            TokenFile(config.tokens)
            yield Finding(area, "ok", f"the token file {config.tokens} can be used")
        addresses = [parse_address(text) for text in config.listen]
        auth = config.tokens is not None or (tls is not None and config.tls_client_ca is not None)
        require_secure(addresses, tls=tls is not None, auth=auth, insecure=config.insecure)
    except BridgeError as error:
        yield _problem(area, error)


async def check_addresses(config: ServerConfig) -> list[Finding]:
    """Whether the addresses are free, and if not, who is there."""
    findings = [await _check_address(parse_address(text), config) for text in config.listen]
    if config.metrics:
        findings.append(_free(parse_address(config.metrics)) or Finding("addresses", "ok", f"{config.metrics} is free"))
    return findings


def _free(address: Address) -> Finding | None:
    """What is wrong with an address, ``None`` if nothing is."""
    if isinstance(address, UnixAddress):
        return _problem("addresses", _taken(address)) if _is_served(address.path) else None
    try:
        probe_tcp(address.host, address.port)
    except BridgeError as error:
        return _problem("addresses", error)
    return None


def _taken(address: Address) -> BridgeError:
    message = f"{address} is in use; stop the program that serves it, or choose another address with --listen"
    return BridgeError(Code.ALREADY_EXISTS, message, reason="ADDRESS_IN_USE")


def _is_served(path: Path) -> bool:
    """Whether somebody listens on a socket. A socket of a dead server is removed by the next one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_TIMEOUT)
        return probe.connect_ex(str(path)) not in (errno.ENOENT, errno.ECONNREFUSED)


async def _check_address(address: Address, config: ServerConfig) -> Finding:
    problem = _free(address)
    if problem is None:
        any_port = isinstance(address, TcpAddress) and address.port == 0
        return Finding("addresses", "ok", f"{address}: " + ("any free port" if any_port else "free"))
    who = await _who_answers(str(address), config)
    if who is None:
        return problem
    return Finding("addresses", "note", f"{address}: {who} answers there, so another server cannot listen there")


async def _who_answers(target: str, config: ServerConfig) -> str | None:
    """Which bridge server has an address; ``None`` if it is none."""
    from bridge_client import BridgeClient, ClientConfig

    client_config = ClientConfig(target, ca=config.tls_cert if target.partition(":")[0] != "unix" else None)
    try:
        async with BridgeClient.from_config(client_config, retry=None, breaker=None, tracing=False) as client:
            info = await client.server_info(timeout=ANSWER_TIMEOUT)
    except BridgeError as error:
        return "a server that wants a token" if error.code is Code.UNAUTHENTICATED else None
    return f"{info.name} {info.version}" + (f" with {', '.join(info.adapters)}" if info.adapters else "")


async def check_host(config: ServerConfig) -> list[Finding]:
    """Whether the host of the sessions answers."""
    from bridge_client import BridgeClient

    if not config.host:
        return []
    try:
        async with BridgeClient(config.host, retry=None, breaker=None, tracing=False) as client:
            await client.wait_ready(ANSWER_TIMEOUT)
    except BridgeError as error:
        advice = f"start it with `bridge host --listen {config.host}`, or correct --host"
        return [Finding("host", "problem", error.message, advice)]
    return [Finding("host", "ok", f"{config.host} answers")]


async def check_store(config: ServerConfig) -> list[Finding]:
    """Whether a store on another server answers. One in a file is left alone: to open it is to make it, or to take it
    from the host that has it."""
    from bridge.stores import make_store, without_password

    if config.host or config.store == "memory" or config.store.startswith("sqlite:"):
        return []
    store = make_store(config.store)
    try:
        await store.open()
    except BridgeError as error:
        return [Finding("store", "problem", error.message, "the message says what to do; --store names the store")]
    finally:
        await store.aclose()
    return [Finding("store", "ok", f"{without_password(config.store)} answers")]


def check_adapters(specs: Sequence[str]) -> Iterator[Finding]:
    """Whether the adapters can be loaded, each and all together, and the manifests of plugins can be read."""
    from bridge.registry import Registry
    from bridge.sources import load_sources

    classes: list[type] = []
    for spec in specs:
        try:
            found, plugins = load_sources([spec])
            tools = [tool.name for tool in Registry(found).tools]
        except BridgeError as error:
            yield _problem("adapters", error)
            continue
        classes += found
        if plugins:
            yield Finding(
                "adapters", "ok", f"{spec} can be read; `bridge plugins check {spec}` tries the plugin itself"
            )
        else:
            yield Finding("adapters", "ok", f"{spec}: {', '.join(tools)}")
    try:
        Registry(classes)
    except BridgeError as error:
        yield _problem("adapters", error)

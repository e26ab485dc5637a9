"""``bridge plugin``: the tools of adapters as a plugin for hosts of go-plugin."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

from bridge.cli.exit_codes import ExitCode
from bridge.cli.flags import convert, parse, signature
from bridge.cli.problems import usage_error
from bridge.cli.serve import import_from_current_folder
from bridge.config import Settled, settle
from bridge.errors import BridgeError
from bridge.goplugin.handshake import HandshakeConfig, check_cookie
from bridge.goplugin.output.start_failures import ERROR
from bridge.goplugin.serving.settings import ServeSettings
from bridge.goplugin.tools import HANDSHAKE, NAME, BridgePlugin

if TYPE_CHECKING:
    from bridge.goplugin.brokering.broker import Broker

__all__ = ["command", "run_quickly"]

_ELSEWHERE = frozenset(
    {
        "listen",
        "jsonrpc",
        "framing",
        "idle_timeout",
        "ready_file",
        "snakepit",
        "snakepit_results",
        "snakepit_thread_sensitive",
        "reflection",
        "insecure",
        "tls_cert",
        "tls_key",
        "tls_client_ca",
        "tokens",
        "write_client",
        "max_metadata_bytes",
        "trusted_principals",
        "reload",
        "log_format",
        "no_timeout",
    }
)
"""Settings of servers that have an address, and of what go-plugin decides."""

_NEEDED = ("bridge.goplugin.attached_host", "bridge.goplugin.serving.server", "bridge.grpc_parts", "bridge.server")
"""What is imported when it serves."""

_DEFAULTS = {
    "max_message_bytes": ServeSettings().max_message_bytes,
    "grace": ServeSettings().grace,
    "worker_grace": 0.3,  # Go's hosts kill a plugin two seconds after they have asked it to end
}
"""Of settings of which plugins have another default than servers."""

_LEVELS = {"warning": "warn", "critical": "error"}
"""Names that go-plugin has for levels, where they differ."""

_PANEL = "go-plugin"
_TEST = "--test"
_TEXTS = {
    "cookie_key": (
        "--cookie-key",
        "NAME",
        "Variable of the environment by which the plugin knows that a host has started it.",
        HANDSHAKE.magic_cookie_key,
    ),
    "cookie_value": ("--cookie-value", "TEXT", "What that variable has to be.", HANDSHAKE.magic_cookie_value),
}
"""Flag, kind, help and default of what is no setting of servers."""


def run_quickly(arguments: Sequence[str]) -> int | None:
    """The command, with arguments that need nothing but the table of settings to be understood; ``None``, and nothing
    done, if typer has to look at them."""
    own: dict[str, Any] = {}
    others: list[str] = []
    flags = {flag: name for name, (flag, *_) in _TEXTS.items()}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, text = argument.partition("=")
        if argument == _TEST:
            own["test"] = True
        elif flag not in flags:
            others.append(argument)
        elif equals or (text := next(rest, "")):
            own[flags[flag]] = text
        else:
            return None
    parsed = parse(others)
    return None if parsed is None or parsed[0].keys() & _ELSEWHERE else _serve(*parsed, own)


def command() -> Callable[..., int]:
    """The command for typer, with a parameter for each setting that means something to a plugin."""
    import typer  # only for help and mistakes

    def run(**texts: Any) -> int:
        file = texts.pop("config")
        own = {name: text for name in (*_TEXTS, "test") if (text := texts.pop(name))}
        given = {key: text for key, text in texts.items() if text is not None}
        return _serve(convert(given), None if file is None else Path(file), own)

    hints: dict[str, Any] = {
        name: Annotated[
            Optional[str],  # noqa: UP045 - typer reads it at run time
            typer.Option(flag, metavar=kind, help=about, rich_help_panel=_PANEL, show_default=default),
        ]
        for name, (flag, kind, about, default) in _TEXTS.items()
    }
    about = "Serve without a host, for tests and debuggers, and print the JSON by which hosts reattach."
    hints["test"] = Annotated[bool, typer.Option(_TEST, help=about, rich_help_panel=_PANEL)]
    parameters = [parameter for parameter in signature() if parameter.name not in _ELSEWHERE]
    for parameter in parameters:
        if parameter.name in _DEFAULTS:
            (option,) = parameter.annotation.__metadata__
            option.show_default = str(_DEFAULTS[parameter.name]).removesuffix(".0")
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=name != "test" and None, annotation=hint)
        for name, hint in hints.items()
    ]
    run.__doc__ = (
        "Serve the tools of adapters as a plugin, to the host of go-plugin that has started this process.\n\n"
        f"Such a host sets {HANDSHAKE.magic_cookie_key}={HANDSHAKE.magic_cookie_value}, and dispenses `{NAME}`; "
        "clients/go has one for Go."
    )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _serve(flags: Mapping[str, Any], file: Path | None, own: Mapping[str, Any]) -> int:
    handshake = HandshakeConfig(
        magic_cookie_key=own.get("cookie_key", HANDSHAKE.magic_cookie_key),
        magic_cookie_value=own.get("cookie_value", HANDSHAKE.magic_cookie_value),
        protocol_version=HANDSHAKE.protocol_version,
    )
    is_test = own.get("test", False)
    if not is_test:
        if (advice := check_cookie(handshake, os.environ)) is not None:
            sys.stderr.write(f"{advice}`bridge plugin --test ADAPTER` serves it without one.\n")
            return ExitCode.FAILED
        from bridge.goplugin.output.stdio import protect_stdout

        # What an adapter prints while it is imported must not be taken for the handshake.
        protect_stdout()
    try:
        return _start(handshake, flags, file, is_test)
    except BridgeError:
        if not is_test:
            sys.stderr.write(ERROR)  # what is wrong with the command line, or an adapter, follows on the same line
        raise


def _start(handshake: HandshakeConfig, flags: Mapping[str, Any], file: Path | None, is_test: bool) -> int:
    settled = _configure(flags, file)
    # Before the current folder goes on the path: nothing that lies there hides a module of ours.
    from bridge.goplugin.serving.main import serve
    from bridge.sources import prepare_sources

    for name in _NEEDED:
        importlib.import_module(name)
    import_from_current_folder()
    adapters, manifests = prepare_sources(settled.config)
    plugin = _Plugin(settled.config, adapters, plugins=manifests)
    serve(handshake=handshake, plugins={NAME: plugin}, test=is_test, **_settings(settled))
    return ExitCode.OK


class _Plugin(BridgePlugin):
    async def open(self, broker: Broker) -> None:
        await super().open(broker)
        gc.freeze()
        gc.enable()


def _configure(flags: Mapping[str, Any], file: Path | None) -> Settled:
    settled = settle(file, os.environ, flags)
    config = settled.config
    if not config.adapters:
        raise usage_error(
            "no adapter to serve: name one, as in `bridge plugin package.module:Class` or `bridge plugin file.py`"
        )
    # A file of settings may be that of `bridge serve`, too.
    changes: dict[str, Any] = {"snakepit": False, "write_client": None, "ready_file": None, "reload": False}
    changes |= {name: value for name, value in _DEFAULTS.items() if settled.provenance[name].kind == "default"}
    return Settled(dataclasses.replace(config, **changes), settled.provenance)


def _settings(settled: Settled) -> dict[str, Any]:
    """What go-plugin's server takes over from the configuration; the rest is as PLUGIN_* in the environment says."""
    config, provenance = settled.config, settled.provenance
    settings: dict[str, Any] = {}
    if provenance["max_message_bytes"].kind != "default":
        settings["max_message_bytes"] = config.max_message_bytes
    if provenance["grace"].kind != "default":
        settings["grace"] = config.grace
    if provenance["log_level"].kind != "default":
        settings["log_level"] = _LEVELS.get(config.log_level, config.log_level)
    return settings

"""The typer application: every command, their help, and what is said about wrong usage."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from bridge._version import __version__
from bridge.cli.calls import call, stream
from bridge.cli.catalog import health, tools
from bridge.cli.doctor import doctor
from bridge.cli.env_commands import ENV_COMMANDS
from bridge.cli.exit_codes import ExitCode
from bridge.cli.manifest_commands import MANIFEST_COMMANDS
from bridge.cli.mcp_command import command as mcp
from bridge.cli.plugin_commands import PLUGIN_COMMANDS
from bridge.cli.plugin_serving import command as plugin
from bridge.cli.problems import OutputClosed, Reporter, usage_error
from bridge.cli.project import certs, demo, new
from bridge.cli.servers import command as server
from bridge.cli.session_commands import SESSION_COMMANDS
from bridge.cli.snakepit_commands import SNAKEPIT_COMMANDS, snakepit
from bridge.cli.var_commands import VAR_COMMANDS

__all__ = ["COMMANDS", "GROUPS", "GROUP_OPTIONS", "build", "run"]

COMMANDS: dict[str, tuple[str, Callable[..., int]]] = {
    "serve": ("Servers", server("bridge")),
    "host": ("Servers", server("host")),
    "stdio": ("Servers", server("stdio")),
    "mcp": ("Servers", mcp()),
    "plugin": ("Servers", plugin()),
    "tools": ("Calls", tools),
    "call": ("Calls", call),
    "stream": ("Calls", stream),
    "health": ("Calls", health),
    "new": ("Adapters and set-up", new),
    "certs": ("Adapters and set-up", certs),
    "doctor": ("Adapters and set-up", doctor),
    "demo": ("Adapters and set-up", demo),
}
"""Panel of the help and function of each command."""
GROUPS: dict[str, tuple[str, str, dict[str, Callable[..., int]]]] = {
    "session": ("Sessions and variables", "Open, list and close sessions.", SESSION_COMMANDS),
    "var": ("Sessions and variables", "Read, write and watch the variables of a session.", VAR_COMMANDS),
    "plugins": ("Plugins", "Add, list and check plugins: adapters in interpreters of their own.", PLUGIN_COMMANDS),
    "manifest": ("Plugins", "Read, convert and describe the manifests of plugins.", MANIFEST_COMMANDS),
    "env": ("Plugins", "Build the environments that plugins run in.", ENV_COMMANDS),
    "snakepit": ("Snakepit", "Serve adapters in the worker pools of Snakepit, for Elixir.", SNAKEPIT_COMMANDS),
}
"""Panel, help and commands of each group, as in ``bridge var get``."""
GROUP_OPTIONS: dict[str, Callable[..., None]] = {"snakepit": snakepit}
"""Function with the options of a group that has some without a command."""

_EPILOG = "Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."
_SETTINGS = (
    "Every flag is also a key of the table \\[server] in bridge.toml and an environment variable BRIDGE_NAME; "
    "flags win over the environment, and the environment over the file. `bridge doctor` shows what is in force."
)


def build() -> typer.Typer:
    """The application."""
    app = typer.Typer(name="bridge", no_args_is_help=True, epilog=_EPILOG, context_settings={"max_content_width": 120})
    app.callback()(_main)
    for name, (panel, function) in COMMANDS.items():
        epilog = _SETTINGS if panel == "Servers" else None
        app.command(name, rich_help_panel=panel, epilog=epilog)(_with_closed_output(function))
    for name, (panel, text, commands) in GROUPS.items():
        group = typer.Typer(no_args_is_help=True)
        if name in GROUP_OPTIONS:
            group.callback()(GROUP_OPTIONS[name])
        for own_name, function in commands.items():
            group.command(own_name)(_with_closed_output(function))
        app.add_typer(group, name=name, help=text, rich_help_panel=panel)
    return app


def _with_closed_output(function: Callable[..., int]) -> Callable[..., int]:
    """Tells a closed stdout from a failure; typer would make it one."""

    @functools.wraps(function)
    def run(**values: Any) -> int:
        try:
            return function(**values)
        except BrokenPipeError as error:
            raise OutputClosed from error

    return run


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bridge {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors; every command takes it too.")
    ] = False,
) -> None:
    """Serve tools written in Python to programs in any language, and call them."""


def run(arguments: list[str], reporter: Reporter) -> int:
    """Runs a command; wrong usage is reported, every other error is raised."""
    # A name of a tool or a file may have characters that the terminal does not.
    for stream_ in (sys.stdout, sys.stderr):
        if callable(reconfigure := getattr(stream_, "reconfigure", None)):
            reconfigure(errors="backslashreplace")
    try:
        code = typer.main.get_command(build()).main(args=arguments, prog_name="bridge", standalone_mode=False)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except Exception as error:
        # The base class of wrong usage has moved between versions of typer; this method is what makes it one.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        return _report_usage(error, str(describe()), reporter)
    return code if isinstance(code, int) else ExitCode.OK


def _report_usage(error: Any, message: str, reporter: Reporter) -> int:
    context = getattr(error, "ctx", None)
    if not message or message.startswith("Usage:"):  # no command at all: typer has shown the help
        return ExitCode.USAGE
    command = getattr(context, "command_path", None) or "bridge"
    return reporter.report(usage_error(f"{message.rstrip('.')}; `{command} --help` shows how to use it"))

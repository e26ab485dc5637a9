"""``bridge plugins``: adapters that run in interpreters of their own."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import output
from bridge.cli.options import Debug, JsonOutput
from bridge.cli.plugin_options import PluginsDir, folder_of_plugins, named_plugin
from bridge.cli.problems import printable
from bridge.cli.variable_forms import table

if TYPE_CHECKING:
    from bridge.plugins.check import Report
    from bridge.plugins.discovery import Discovered
    from bridge.tool import Tool

__all__ = ["PLUGIN_COMMANDS"]

_MIB = 1024 * 1024

_Plugin = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A plugin that was added, or the file of a manifest.")
]


def plugins_ls(plugins_dir: PluginsDir = None, json_output: JsonOutput = False, debug: Debug = False) -> int:
    """List the plugins that were added, and the files in their folder that are none, with the reason.

    Example: bridge plugins ls
    """
    from bridge.plugins.discovery import discover

    folder = folder_of_plugins(plugins_dir)
    found = discover(folder)
    if json_output:
        output.show_json(_listing(folder, found))
        return 0
    if found.plugins:
        rows = [
            (plugin.name, plugin.version, plugin.interpreter or "(the server's)", plugin.adapter, plugin.file)
            for plugin in found.plugins
        ]
        output.print_rich(table(("Plugin", "Version", "Python", "Adapter", "Manifest"), rows))
    else:
        typer.echo(f"There are no plugins in {folder}; `bridge plugins add FILE` adds one.")
    for rejected in found.rejected:
        typer.echo(f"rejected: {printable(rejected.problem)}", err=True)
    return 0


def _listing(folder: Path, found: Discovered) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "plugins": [
            {
                "name": plugin.name,
                "version": plugin.version,
                "description": plugin.description,
                "adapter": plugin.adapter,
                "python": plugin.interpreter,
                "isolation": plugin.isolation,
                "manifest": plugin.file,
            }
            for plugin in found.plugins
        ],
        "rejected": [{"file": str(one.file), "problem": one.problem} for one in found.rejected],
    }


def plugins_add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The manifest, TOML or JSON.")],
    plugins_dir: PluginsDir = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a plugin of the same name.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not start it first.")] = False,
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Check a plugin and copy its manifest into the folder of plugins, with absolute paths.

    Example: bridge plugins add ocr.toml
    """
    from bridge.manifest import load_manifest
    from bridge.plugins.check import check
    from bridge.plugins.discovery import add

    manifest = load_manifest(file)
    report = None if no_check else asyncio.run(check(manifest))
    target = add(manifest, folder_of_plugins(plugins_dir), force=force)
    if json_output:
        output.show_json({"manifest": str(target), "check": None if report is None else _report(report)})
        return 0
    if report is not None:
        _show(report)
    typer.echo(f"wrote {target}\n\nnext:\n  bridge serve {shlex.quote(str(target))}")
    return 0


def plugins_rm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin.")],
    plugins_dir: PluginsDir = None,
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Remove the manifest of a plugin. Its code and its environment stay.

    Example: bridge plugins rm ocr
    """
    from bridge.plugins.discovery import remove

    removed = remove(name, folder_of_plugins(plugins_dir))
    if json_output:
        output.show_json({"removed": [str(file) for file in removed]})
    else:
        for file in removed:
            typer.echo(f"removed {file}")
    return 0


def plugins_check(
    plugin: _Plugin, plugins_dir: PluginsDir = None, json_output: JsonOutput = False, debug: Debug = False
) -> int:
    """Start a plugin in its interpreter, list its tools, and end it; exit code 0 if it works.

    Example: bridge plugins check ocr.toml
    """
    from bridge.plugins.check import check

    report = asyncio.run(check(named_plugin(plugin, plugins_dir)))
    if json_output:
        output.show_json(_report(report))
    else:
        _show(report)
    return 0


def _report(report: Report) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "python": manifest.interpreter or sys.executable,
        "python_version": report.python_version,
        "start_seconds": round(report.start, 4),
        "worker_start_seconds": round(report.worker_start, 4),
        "rss_bytes": report.rss,
        "tools": [
            {
                "name": tool.name,
                "description": tool.description,
                "streaming": tool.streaming,
                "input_schema": tool.input_schema,
                "output_schema": tool.output_schema,
            }
            for tool in report.tools
        ],
        "output": report.output,
    }


def _show(report: Report) -> None:
    manifest = report.manifest
    rows = [
        (tool.name + (" (streams)" if tool.streaming else ""), _signature(tool), tool.description.partition("\n")[0])
        for tool in report.tools
    ]
    output.print_rich(table(("Tool", "Parameters", "What it does"), rows) if rows else "This plugin has no tools.")
    typer.echo(
        f"{manifest.name} {printable(manifest.version)} works: Python {report.python_version} "
        f"({manifest.interpreter or sys.executable}), imported in {report.start:.2f} s, a worker in "
        f"{report.worker_start * 1000:.0f} ms with {report.rss / _MIB:.0f} MiB"
    )
    for line in report.output:
        typer.echo(f"it printed: {printable(line)}", err=True)


def _signature(tool: Tool) -> str:
    return ", ".join(p.name if p.required else f"[{p.name}]" for p in tool.parameters)


PLUGIN_COMMANDS: dict[str, Callable[..., int]] = {
    "ls": plugins_ls,
    "add": plugins_add,
    "rm": plugins_rm,
    "check": plugins_check,
}
"""By name, as ``bridge plugins NAME``."""

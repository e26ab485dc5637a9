"""``bridge manifest``: the files that describe plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import typer

from bridge.cli import output
from bridge.cli.options import Debug, JsonOutput
from bridge.cli.plugin_options import PluginsDir, named_plugin
from bridge.cli.problems import printable
from bridge.errors import BridgeError, Code

__all__ = ["MANIFEST_COMMANDS"]

_Output = Annotated[
    Optional[str],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where to; a suffix .json makes it JSON.", show_default="stdout"
    ),
]
_Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def manifest_convert(
    file: Annotated[str, typer.Argument(metavar="FILE.json", help="Manifest of cjm-plugin-system, format 1 or 2.0.")],
    to: _Output = None,
    force: _Force = False,
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Make a manifest of one of cjm-plugin-system. What ours have no place for is said on stderr.

    Example: bridge manifest convert whisper.json -o whisper.toml
    """
    from bridge.plugins.convert import convert
    from bridge.plugins.settled import as_text

    converted = convert(Path(file))
    suffix = ".json" if json_output else Path(to).suffix if to else ".toml"
    text = as_text(converted.fields, suffix)
    if to is None:
        sys.stdout.write(text)
    else:
        _write(Path(to), text, force, private="env" in converted.fields)
    for sentence in converted.left_out:
        typer.echo(f"left out: {printable(sentence)}", err=True)
    if to is not None:
        typer.echo(f"wrote {to}\n\nnext:\n  bridge plugins check {to}", err=True)
    return 0


def _write(path: Path, text: str, force: bool, *, private: bool) -> None:
    from bridge.security import write_atomically

    if path.exists() and not force:
        raise BridgeError(Code.ALREADY_EXISTS, f"{path} is there; --force replaces it", reason="FILE_EXISTS")
    # Values of variables may be secrets.
    write_atomically(path, text, mode=0o600 if private else 0o644)


def manifest_show(
    plugin: Annotated[str, typer.Argument(metavar="FILE", help="A manifest, or the name of a plugin.")],
    plugins_dir: PluginsDir = None,
    json_output: JsonOutput = False,
    debug: Debug = False,
) -> int:
    """Show what a manifest means: every field, with the defaults, absolute paths, and no value of a variable.

    Example: bridge manifest show ocr.toml
    """
    from bridge.plugins.settled import as_text, settled

    manifest = named_plugin(plugin, plugins_dir)
    fields = settled(manifest, hide=True)
    if json_output:
        output.show_json(fields)
    else:
        sys.stdout.write(printable(as_text(fields, Path(manifest.file).suffix)))
    return 0


def manifest_schema(debug: Debug = False) -> int:
    """Print the JSON Schema of a manifest, for editors and other programs.

    Example: bridge manifest schema > bridge-manifest.schema.json
    """
    from bridge.manifest_format import json_schema

    typer.echo(output.document(json_schema()))
    return 0


MANIFEST_COMMANDS: dict[str, Callable[..., int]] = {
    "convert": manifest_convert,
    "show": manifest_show,
    "schema": manifest_schema,
}
"""By name, as ``bridge manifest NAME``."""

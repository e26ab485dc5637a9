"""The flags of ``bridge serve`` and ``bridge host``: one table, the settings, read in two ways.

``parse`` takes what is plain to understand and needs nothing but the table; ``signature`` gives the same flags to
typer, which takes everything, shows the help and explains mistakes. Both give the same values.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from bridge.config import SETTINGS, Setting

__all__ = ["CONFIG_FLAG", "NO_TIMEOUT", "convert", "parse", "signature"]

CONFIG_FLAG = "--config"
"""The TOML file; the one flag that is no setting."""
NO_TIMEOUT = "--no-timeout"
"""``--idle-timeout 0`` in other words."""

_OPTIONS = {setting.flag: setting for setting in SETTINGS if setting.flag.startswith("--")}
_LIST = tuple[str, ...]


def parse(arguments: Sequence[str]) -> tuple[dict[str, Any], Path | None] | None:
    """Reads flags and adapters: what ``settle`` takes as flags, and the TOML file.

    ``None`` if there is anything in them that typer should look at.
    """
    texts: dict[str, Any] = {}
    config = None
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            texts.setdefault("adapters", []).append(argument)
            continue
        if argument == NO_TIMEOUT:
            texts["idle_timeout"] = "0"
            continue
        name, equals, value = argument.partition("=")
        setting = _OPTIONS.get(name) or _OPTIONS.get(name.replace("--no-", "--", 1))
        if setting is not None and setting.hint is bool:
            if equals:
                return None
            texts[setting.key] = name == setting.flag
            continue
        if setting is None and name != CONFIG_FLAG:
            return None
        if not equals and (value := next(rest, "-")).startswith("-"):
            return None
        if setting is None:
            config = Path(value)
        elif name != setting.flag:
            return None
        elif setting.hint == _LIST:
            texts.setdefault(setting.key, []).append(value)
        else:
            texts[setting.key] = value
    return convert(texts), config


def convert(texts: dict[str, Any]) -> dict[str, Any]:
    """Numbers as numbers; the rest as it is, and ``settle`` says what is wrong with it."""
    if texts.pop("no_timeout", None):
        texts["idle_timeout"] = "0"
    return {setting.key: _number(setting, texts[setting.key]) for setting in SETTINGS if setting.key in texts}


def _number(setting: Setting, text: Any) -> Any:
    if setting.hint not in (int, float) or text is None:
        return text
    try:
        return setting.hint(text)
    except ValueError:
        return text


def signature() -> list[inspect.Parameter]:
    """The same flags as parameters of a typer command, in panels by section."""
    import typer  # only for help and mistakes

    parameters = []
    for setting in SETTINGS:
        if setting in _OPTIONS.values():
            hint, option = _option(setting)
        else:
            hint = Optional[list[str]]  # noqa: UP045 - typer reads it at run time
            option = typer.Argument(help=setting.help, metavar=setting.flag, show_default=False)
        parameters.append(_parameter(setting.key, Annotated[hint, option]))
    file = typer.Option(
        CONFIG_FLAG, metavar="FILE", help="TOML file with settings.", show_default="bridge.toml, if any"
    )
    parameters.append(_parameter("config", Annotated[Optional[str], file]))  # noqa: UP045
    no_timeout = typer.Option(NO_TIMEOUT, help="The same as --idle-timeout 0.", show_default=False)
    parameters.append(_parameter("no_timeout", Annotated[Optional[bool], no_timeout]))  # noqa: UP045
    return parameters


def _option(setting: Setting) -> tuple[Any, Any]:
    import typer

    if setting.hint is bool:
        declaration = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        hint: Any = Optional[bool]  # noqa: UP045
    else:
        declaration = setting.flag
        hint = Optional[list[str]] if setting.hint == _LIST else Optional[str]  # noqa: UP045
    option = typer.Option(
        declaration,
        help=setting.help,
        metavar=None if setting.hint is bool else _metavar(setting),
        rich_help_panel=setting.section,
        show_default=(setting.hint is not bool and setting.default_text) or False,
    )
    return hint, option


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "|".join(choice for choice in setting.choices if choice)
    return {int: "INTEGER", float: "NUMBER", Path | None: "PATH", _LIST: "TEXT"}.get(setting.hint, "TEXT")


def _parameter(name: str, hint: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)

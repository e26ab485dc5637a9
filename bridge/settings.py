"""What a setting is, and reading settings from a file, the environment and flags, whatever the configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.runtime.hints import closest

__all__ = [
    "Setting",
    "Source",
    "about",
    "convert",
    "read_environment",
    "read_file",
    "read_flags",
    "refuse",
    "settings_of",
    "show",
    "tables",
    "unknown",
]

PREFIX = "BRIDGE_"
"""Begins the name of every environment variable of ours."""


def about(section: str, help: str, **extra: Any) -> dict[str, Any]:
    """Metadata of a field.

    Args:
        section: where the documentation has it.
        help: what it does, in a sentence.
        extra: ``low`` and ``high``, both inclusive; ``check``, which says what is wrong with a value of the right type;
            ``default_text`` for a default that differs between machines; ``flag`` for one that is no option.
    """
    return {"section": section, "help": help, **extra}


class Setting(msgspec.Struct, frozen=True):
    """One thing that can be set, as the command line and the documentation show it."""

    key: str
    """Name in the TOML file and field of ``ServerConfig``."""
    hint: Any
    """Its type."""
    default: Any
    meta: Mapping[str, Any]

    @property
    def section(self) -> str:
        """Heading it stands under."""
        return str(self.meta["section"])

    @property
    def help(self) -> str:
        """What it does, in a sentence."""
        return str(self.meta["help"])

    @property
    def env(self) -> str:
        """Name of the environment variable."""
        return PREFIX + self.key.upper()

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return str(self.meta.get("flag") or "--" + self.key.replace("_", "-"))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values allowed, if they can be counted."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()

    @property
    def default_text(self) -> str:
        """The default, for people."""
        return str(self.meta.get("default_text") or show(self.default))

    @property
    def allowed(self) -> str:
        """What it may be, for people."""
        if self.choices:
            return "one of " + ", ".join(choice or "(empty)" for choice in self.choices)
        if self.hint in (int, float):
            noun = "a whole number" if self.hint is int else "a number"
            return f"{noun} from {show(self.meta['low'])} to {show(self.meta['high'])}"
        return _KINDS[self.hint]

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value of the right or the wrong type, without the value; ``None`` if nothing is."""
        try:
            msgspec.convert(value, self.hint)
        except msgspec.ValidationError:
            near = closest(value, self.choices) if isinstance(value, str) else None
            return f"allowed: {self.allowed}" + (f"; did you mean {near!r}?" if near else "")
        # Written so that NaN, which is neither below nor above anything, does not pass.
        if "low" in self.meta and not self.meta["low"] <= value <= self.meta["high"]:
            return f"allowed: {self.allowed}"
        check: Callable[[Any], str | None] | None = self.meta.get("check")
        return check(value) if check else None


_KINDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    Path | None: "a path",
    tuple[str, ...]: "a list of texts, in the environment with commas between",
}


def show(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def settings_of(config: type[Any]) -> Iterator[Setting]:
    """The settings of a configuration class, in the order of its fields."""
    hints = get_type_hints(config)
    for item in dataclasses.fields(config):
        yield Setting(item.name, hints[item.name], item.default, item.metadata)


class Source(msgspec.Struct, frozen=True):
    """Where a value came from."""

    kind: Literal["default", "file", "environment", "flag"]
    name: str = ""
    """The file, variable or flag."""

    def __str__(self) -> str:
        return self.name or self.kind


Given = tuple[str, Any, Source]
"""Key, value as it was written, source."""


def read_file(file: Path, table: str) -> Iterator[Given]:
    """What a table of a TOML file sets; nothing else may be in the file.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``CONFIG``.
    """
    try:
        import tomllib  # slow to import, and many servers have no file

        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise _refusal([FieldViolation("config", f"cannot read {file}: {error.strerror}")]) from error
    except (ValueError, RecursionError) as error:
        raise _refusal([FieldViolation("config", f"{file} is not TOML: {error}")]) from error
    settings = content.pop(table, {})
    for wrong in content if isinstance(settings, dict) else (table,):
        raise _refusal([FieldViolation(wrong, f"set by {file}: every setting goes below the line `[{table}]`")])
    source = Source("file", str(file))
    for key, value in settings.items():
        yield key, value, source


# What is read elsewhere: the name of the file, what tells a client where to connect and in which session, and where the
# commands about plugins find them.
_ELSEWHERE = re.compile(r"BRIDGE_(CONFIG|TARGET|SESSION|PLUGINS_DIR|CLIENT_.*)")
# Kubernetes sets these in every container if there is a service "bridge" or "bridge-anything".
_SERVICE_LINK = re.compile(r".*_SERVICE_(HOST|PORT)(_.*)?|.*_PORT_\d+_(TCP|UDP|SCTP)(_.*)?")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def read_environment(environ: Mapping[str, str], settings: Mapping[str, Setting]) -> Iterator[Given]:
    """What the environment sets; a key that no setting has is the name of the variable."""
    keys = {setting.env: key for key, setting in settings.items()}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or not text or _ELSEWHERE.fullmatch(name):
            continue
        if _SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_URL.match(text)):
            continue
        yield keys.get(name, name), text, Source("environment", name)


def read_flags(flags: Mapping[str, Any], settings: Mapping[str, Setting]) -> Iterator[Given]:
    """What flags set."""
    for key, value in flags.items():
        if value is None or value in ((), []):
            continue
        setting = settings.get(key)
        yield key, value, Source("flag", setting.flag if setting else "--" + key.replace("_", "-"))


def convert(setting: Setting, raw: Any, source: Source) -> Any:
    """A value in the type of its setting where that takes no guessing; otherwise as it was written."""
    if isinstance(raw, str) and setting.hint == tuple[str, ...]:
        parts = raw.split(",") if source.kind == "environment" else [raw]
        raw = [part for text in parts if (part := text.strip())]
    elif isinstance(raw, str) and setting.hint == Path | None:
        raw = Path(raw) if raw else None
    elif isinstance(raw, str) and setting.choices:
        raw = raw.lower()
    try:
        value = msgspec.convert(raw, setting.hint, strict=source.kind != "environment")
    except msgspec.ValidationError:
        return raw
    if isinstance(value, Path) and source.kind == "file":
        return Path(source.name).parent / value
    return value


def unknown(key: str, source: Source, settings: Collection[str]) -> str:
    """What to say about a key that no setting has."""
    bare = key.removeprefix(PREFIX).lower().replace("-", "_")
    near = closest(bare, settings)
    advice = "docs/configuration.md lists them all"
    if near:
        advice = f"did you mean {PREFIX + near.upper() if source.kind == 'environment' else near}?"
    where = "" if key == source.name else f"set by {source}: "
    return f"{where}no such setting; {advice}"


def refuse(problems: Sequence[FieldViolation]) -> None:
    """Raises ``BridgeError`` INVALID_ARGUMENT, reason ``CONFIG``, if there are problems."""
    if problems:
        raise _refusal(problems)


def _refusal(problems: Sequence[FieldViolation]) -> BridgeError:
    text = "\n".join(f"{problem.field}: {problem.description}" for problem in problems)
    message = text if len(problems) == 1 else f"{len(problems)} settings are wrong:\n{text}"
    details = ErrorDetails(violations=tuple(problems))
    return BridgeError(Code.INVALID_ARGUMENT, message, reason="CONFIG", details=details)


def tables(settings: Iterable[Setting]) -> str:
    """The tables of ``docs/configuration.md``."""
    lines: list[str] = []
    section = ""
    for setting in settings:
        if setting.section != section:
            section = setting.section
            lines += [
                "",
                f"### {section}",
                "",
                "| key | environment | flag | default | meaning |",
                "|---|---|---|---|---|",
            ]
        default = f"`{setting.default_text}`" if setting.default_text else ""
        counted = setting.choices or setting.hint in (int, float)
        meaning = f"{setting.help} Allowed: {setting.allowed}." if counted else setting.help
        lines.append(f"| `{setting.key}` | `{setting.env}` | `{setting.flag}` | {default} | {meaning} |")
    return "\n".join(lines).strip() + "\n"

"""From what a user wrote, on the command line or in a program, to adapter classes and functions.

Adapters come from configuration and from installed packages, never from a request.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.adapter import Adapter
from bridge.errors import BridgeError, Code
from bridge.runtime.loading import import_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["ENTRY_POINTS", "load_adapters", "load_function"]

ENTRY_POINTS = "tool_bridge.adapters"
"""Group of entry points under which installed packages offer adapters."""

T = TypeVar("T")

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def load_adapters(spec: str) -> list[type]:
    """Adapter classes named by ``package.module:Class``, ``path/to/file.py:Class``, or an entry point's name.

    A class that was written for Snakepit's own server (``bridge.stock``) can be named, too, and as Snakepit does it:
    ``package.module.Class``.

    Without ``:Class`` a module or file stands for all the adapters defined in it or listed in its ``__all__``.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``MODULE_NOT_FOUND``, ``IMPORT_FAILED``, ``CLASS_NOT_FOUND``,
    ``NOT_AN_ADAPTER``; the message says what to do.
    """
    location, _, class_name = spec.partition(":")
    if _is_file(location):
        module = _run_import(spec, lambda: _import_file(Path(location)))
    elif not class_name and not _is_in_package(location) and (entry := _entry_point(location)) is not None:
        return [_checked(_run_import(spec, entry.load), spec)]
    elif _DOTTED.fullmatch(location):
        if not class_name and _ends_in_class(location):
            location, _, class_name = location.rpartition(".")
        module = _import_module(spec, location)
    else:
        raise _failed(
            "MODULE_NOT_FOUND",
            f"{spec!r} names no adapter: write package.module:Class, path/to/file.py:Class, or the name of an "
            "installed entry point" + _installed(),
        )
    if class_name:
        return [_class(module, class_name, spec)]
    return _all_in(module, spec)


def load_function(spec: str) -> Callable[..., Any]:
    """The function named by ``package.module:function`` or ``path/to/file.py:function``.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``MODULE_NOT_FOUND``, ``IMPORT_FAILED``, ``FUNCTION_NOT_FOUND``.
    """
    location, _, name = spec.rpartition(":")
    if _is_file(location):
        module = _run_import(spec, lambda: _import_file(Path(location)))
    elif _DOTTED.fullmatch(location):
        module = _import_module(spec, location)
    else:
        message = f"{spec!r} names no function: write package.module:function or path/to/file.py:function"
        raise _failed("MODULE_NOT_FOUND", message)
    found = _member(module, name)
    if not callable(found):
        raise _failed("FUNCTION_NOT_FOUND", f"{module.__name__} has no function {name!r}")
    return found  # type: ignore[no-any-return]


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # slow to import, and most adapters are named by their module

    return entry_points(group=ENTRY_POINTS)


def _entry_point(name: str) -> EntryPoint | None:
    return next(iter(_entry_points().select(name=name)), None)


def _installed() -> str:
    names = sorted(_entry_points().names)
    return f" ({', '.join(names)})" if names else ""


def _import_module(spec: str, name: str) -> ModuleType:
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
    except ModuleNotFoundError as error:
        # Only the module itself or a package above it; a module that *it* cannot import is its own failure.
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(
                "MODULE_NOT_FOUND",
                f"there is no module {error.name!r} (for {spec!r}): is it installed in this environment "
                f"({sys.prefix}), or does it lie in the current folder?",
            ) from error
    except (Exception, SystemExit):  # noqa: BLE001, S110 - code of the package above; importing it below tells all
        pass
    return _run_import(spec, lambda: importlib.import_module(name))


def _is_file(location: str) -> bool:
    """Whether it is the path of a file, and no module or entry point."""
    return location.endswith(".py") or "/" in location


def _is_in_package(name: str) -> bool:
    """Whether a dotted name begins with a package that is there: then it is no entry point's, whatever its end is."""
    package, dot, _ = name.partition(".")
    if not dot or not package.isidentifier():
        return False
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # the program itself
        return False


def _ends_in_class(name: str) -> bool:
    """Whether the last part of a dotted name is a class and no module, as far as one can tell without importing it."""
    if not name.rpartition(".")[2][:1].isupper() or "." not in name:
        return False
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:
        return True
    except (Exception, SystemExit):  # noqa: BLE001 - code of the package above; importing it tells the whole story
        return False


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise _failed("MODULE_NOT_FOUND", f"there is no file {str(path)!r}")
    module = import_file(str(path))
    if module is None:
        raise _failed("MODULE_NOT_FOUND", f"{str(path)!r} is not a Python file")
    return module


def _run_import(spec: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except BridgeError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise _failed(
            "IMPORT_FAILED",
            f"importing {spec!r} failed: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno}); "
            "--debug shows the traceback",
        ) from error


def _member(module: ModuleType, name: str) -> Any:
    """What a dotted name in a module stands for, or ``None``."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _class(module: ModuleType, name: str, spec: str) -> type:
    found = _member(module, name)
    if found is None:
        adapters = ", ".join(cls.__name__ for cls in _adapters(module))
        there = f"; it has {adapters}" if adapters else "; it has no adapters at all"
        where = spec.partition(":")[0]
        raise _failed("CLASS_NOT_FOUND", f"{where} has no class {name!r}{there}")
    return _checked(found, spec)


def _checked(found: Any, spec: str) -> type:
    """An adapter class; one that was written for Snakepit's own server as one of ours."""
    if isinstance(found, type):
        if issubclass(found, Adapter):
            return found
        from bridge.stock import is_stock, stock_adapter  # of no use to others

        if is_stock(found):
            return stock_adapter(found)
    raise _failed("NOT_AN_ADAPTER", f"{spec!r} is not an adapter class: derive it from bridge.Adapter")


def _adapters(module: ModuleType) -> list[type]:
    listed: Iterable[str] | None = getattr(module, "__all__", None)
    if listed is None:
        found = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    else:
        found = [value for name in listed if (value := _attribute(module, name)) is not None]
    return [value for value in found if isinstance(value, type) and issubclass(value, Adapter)]


def _attribute(module: ModuleType, name: str) -> Any:
    """An attribute that may be made when asked for, and may need what is not installed."""
    try:
        return getattr(module, name, None)
    except ImportError:
        return None


def _all_in(module: ModuleType, spec: str) -> list[type]:
    adapters = _adapters(module)
    if not adapters:
        advice = f"derive a class from bridge.Adapter, or name one that was written for Snakepit: {spec}:Class"
        raise _failed("CLASS_NOT_FOUND", f"{spec!r} has no adapters: {advice}")
    return adapters


def _failed(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)

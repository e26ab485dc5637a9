"""From what a manifest says to a class."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from types import ModuleType
from typing import Any, Callable

from .errors import BridgeError, Code

__all__ = ["load_class"]

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def load_class(spec: str) -> type:
    """The class named by ``package.module:Class`` or ``path/to/file.py:Class``.

    Raises ``BridgeError`` FAILED_PRECONDITION: ``MODULE_NOT_FOUND``, ``IMPORT_FAILED``, ``CLASS_NOT_FOUND``,
    ``NOT_AN_ADAPTER``; the message says what to do.
    """
    location, _, name = spec.rpartition(":")
    if location.endswith(".py") or "/" in location:
        module = _run_import(spec, lambda: _import_file(location))
    elif _DOTTED.fullmatch(location):
        module = _import_module(spec, location)
    else:
        message = f"{spec!r} names no adapter: write package.module:Class or path/to/file.py:Class"
        raise _failed("MODULE_NOT_FOUND", message)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise _failed("CLASS_NOT_FOUND", f"{module.__name__} has no class {name!r}{_classes(module)}")
    if not isinstance(found, type):
        raise _failed("NOT_AN_ADAPTER", f"{spec!r} is no class, but {type(found).__name__}")
    return found


def _classes(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return f"; it has {', '.join(sorted(names)[:8])}" if names else "; it has no classes at all"


def _import_module(spec: str, name: str) -> ModuleType:
    try:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
    except ModuleNotFoundError as error:
        # Only the module itself or a package above it; a module that *it* cannot import is its own failure.
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(
                "MODULE_NOT_FOUND",
                f"there is no module {error.name!r} (for adapter {spec!r}): is it installed in this environment "
                f"({sys.prefix}), or does it lie in a folder of the manifest's path?",
            ) from error
    except Exception:  # noqa: BLE001, S110 - code of the package above; importing it below tells the whole story
        pass
    return _run_import(spec, lambda: importlib.import_module(name))


def _import_file(path: str) -> ModuleType:
    import os

    if not os.path.isfile(path):  # noqa: PTH113 - pathlib takes some milliseconds
        raise _failed("MODULE_NOT_FOUND", f"there is no file {path!r}")
    stem = os.path.basename(path).rpartition(".")[0]  # noqa: PTH119
    name = f"bridge_adapter_{re.sub(r'[^A-Za-z0-9_]', '_', stem)}"
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(path))  # noqa: PTH100
    if spec is None or spec.loader is None:
        raise _failed("MODULE_NOT_FOUND", f"{path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _run_import(spec: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (BridgeError, KeyboardInterrupt):
        raise
    except BaseException as error:
        import traceback

        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise _failed(
            "IMPORT_FAILED",
            f"importing {spec!r} failed: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
            f"{_advice(error)}",
        ) from error


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("bridge."):
        return "; in a plugin there is `from bridge import ...`, and no other module of the bridge"
    if isinstance(error, TypeError) and "for |:" in str(error) and sys.version_info < (3, 10):
        return "; this is Python 3.9: put `from __future__ import annotations` at the top, or write Optional and Union"
    return ""


def _failed(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)

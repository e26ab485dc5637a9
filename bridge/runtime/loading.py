"""From what a manifest says to a class."""

from __future__ import annotations

import binascii
import importlib
import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import Any, Callable

from .errors import BridgeError, Code

__all__ = ["FILE_MODULE", "import_file", "load_class"]

FILE_MODULE = "bridge_adapter_"
"""What the names of modules begin with that were loaded from a file of no package."""

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
    except (Exception, SystemExit):  # noqa: BLE001, S110 - code of the package above; importing it below tells all
        pass
    return _run_import(spec, lambda: importlib.import_module(name))


def import_file(path: str) -> ModuleType | None:
    """The module that a file is, loaded once by whatever path it is asked for; ``None``: it is no Python file.

    Its name is made of the file's, and of all its path: so it is the same in all processes, and no other file's.

    Raises what the file's code raises; nothing of it is left in ``sys.modules`` then.
    """
    file = os.path.realpath(path)
    stem = re.sub(r"[^A-Za-z0-9_]", "_", os.path.basename(file).rpartition(".")[0])  # noqa: PTH119
    name = f"{FILE_MODULE}{stem}_{binascii.crc32(os.fsencode(file)):08x}"
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _import_file(path: str) -> ModuleType:
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib takes some milliseconds
        raise _failed("MODULE_NOT_FOUND", f"there is no file {path!r}")
    module = import_file(path)
    if module is None:
        raise _failed("MODULE_NOT_FOUND", f"{path!r} is not a Python file")
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

"""Makes the folder of a new adapter: what ``bridge new`` does."""

from __future__ import annotations

import builtins
import importlib.util
import io
import keyword
import re
import shutil
import sys
import tokenize
from importlib.resources import files
from pathlib import Path
from string import Template

from bridge.errors import BridgeError, Code, invalid_argument

__all__ = ["class_name_of", "create"]

TEMPLATE_CLASS = "MyAdapter"
"""Name of the class in ``adapters/template.py``."""
MAX_NAME = 64
"""Characters of a name: it becomes a folder, a module, a class and a part of ``test_<name>.py``."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def create(name: str, directory: Path) -> list[Path]:
    """Writes ``<directory>/<name>/`` with an adapter, a test that passes and a README.

    Nothing that exists is touched: the folder must not be there.

    Args:
        name: name of the module, such as ``my_adapter``; the class becomes ``MyAdapter``.
        directory: where the folder goes; it must exist.

    Returns:
        The files written.

    Raises:
        BridgeError: INVALID_ARGUMENT if the name cannot be a module, ALREADY_EXISTS if the folder is there,
            FAILED_PRECONDITION if it cannot be written.
    """
    check_name(name)
    folder = directory / name
    contents = render(name)
    try:
        folder.mkdir()
    except FileExistsError:
        message = f"{folder} exists; choose another name, or remove it"
        raise BridgeError(Code.ALREADY_EXISTS, message, reason="FOLDER_EXISTS") from None
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        return [_write(folder / file, text) for file, text in contents.items()]
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # made a moment ago, by us
        raise _cannot_write(folder, error) from error


def check_name(name: str) -> None:
    """Refuses what cannot be a module of its own, with INVALID_ARGUMENT and what to choose instead."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise invalid_argument(
            "name", f"must be 1 to {MAX_NAME} ASCII letters, digits and '_', a letter first, such as my_adapter"
        )
    if keyword.iskeyword(name):
        raise invalid_argument("name", f"{name!r} is a word of Python; choose another name")
    if name.startswith("test_") or name in ("conftest", "test"):
        raise invalid_argument("name", f"pytest would take {name!r} for a test; choose another name")
    if name in sys.stdlib_module_names or _is_installed(name):
        raise invalid_argument("name", f"a module {name!r} is there already and would be hidden; choose another name")


def class_name_of(name: str, taken: frozenset[str] = frozenset()) -> str:
    """Class for a module: ``my_adapter`` becomes ``MyAdapter``.

    A word of Python or a taken name gets ``Tools`` at its end: ``adapter`` becomes ``AdapterTools``.
    """
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{camel}Tools" if keyword.iskeyword(camel) or camel in taken else camel


def render(name: str) -> dict[str, str]:
    """Texts of the files by file name."""
    source = _template_source()
    test = _fill("test_adapter.py.tmpl", name, TEMPLATE_CLASS)
    taken = (_names(source) | _names(test) | set(dir(builtins))) - {TEMPLATE_CLASS}
    class_name = class_name_of(name, frozenset(taken))
    return {
        f"{name}.py": re.sub(rf"\b{TEMPLATE_CLASS}\b", class_name, source),
        f"test_{name}.py": _fill("test_adapter.py.tmpl", name, class_name),
        "README.md": _fill("README.md.tmpl", name, class_name),
    }


def _template_source() -> str:
    """The adapter that is copied: in an installed package beside the other templates, in a checkout where it is
    edited and tested."""
    installed = files("bridge") / "_template" / "adapter.py"
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    return (Path(__file__).parents[1] / "adapters" / "template.py").read_text(encoding="utf-8")


def _names(source: str) -> set[str]:
    """Every name in a piece of Python, so that a class does not hide one of them."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def _fill(template: str, name: str, class_name: str) -> str:
    """A template file with ``$name`` and ``$class_name`` filled in."""
    text = (files("bridge") / "_template" / template).read_text(encoding="utf-8")
    return Template(text).substitute(name=name, class_name=class_name)


def _is_installed(name: str) -> bool:
    """Whether ``import name`` finds something; a plain folder of that name in the current one does not count."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that did not come from a file
        return True
    if spec is None:
        return False
    places = spec.submodule_search_locations
    return spec.origin is not None or not all(Path(place).parent == Path.cwd() for place in places or ())


def _write(path: Path, text: str) -> Path:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def _cannot_write(folder: Path, error: OSError) -> BridgeError:
    message = f"cannot write {folder}: {error.strerror or error}; choose a folder that exists and is yours"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="CANNOT_WRITE")

"""What the source of a stock adapter tells of it without running it."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator

import msgspec

__all__ = ["Method", "Source", "read_source"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Method(msgspec.Struct, frozen=True):
    """A method, as it is written."""

    name: str
    yields: bool
    returns: frozenset[str]
    """Kinds of what it returns, as far as that can be read: ``int``, ``None``, ``tuple``, ``set``, ``bytes`` and so on,
    of its annotation and of literals."""


class Source(msgspec.Struct, frozen=True):
    """The classes that make an adapter, without those of Snakepit's own package, and the modules they are in."""

    methods: dict[str, Method]
    attributes: frozenset[str]
    """Names after a dot."""
    calls: frozenset[str]
    """Names of functions that are called, without what is before the last dot."""
    imports: frozenset[str]
    """Modules that the modules import."""
    state: tuple[str, ...]
    """Variables at the top of the modules that functions write to."""
    names: tuple[str, ...]
    """Tools that ``execute_tool`` knows by name."""


def read_source(cls: type) -> Source | None:
    """Reads the source; ``None`` if there is none, as for what is written in C."""
    trees = [tree for owner in cls.__mro__ if _is_own(owner) and (tree := _parse(owner)) is not None]
    if not trees:
        return None
    names = dict.fromkeys(owner.__module__ for owner in cls.__mro__ if _is_own(owner))
    modules = [module for name in names if (module := _parse_module(name)) is not None]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    methods: dict[str, Method] = {}
    for function in (node for tree in trees for node in tree.body if isinstance(node, _Function)):
        methods.setdefault(function.name, _method(function))  # that of the class itself comes first
    executes = next((node for node in nodes if isinstance(node, _Function) and node.name == "execute_tool"), None)
    return Source(
        methods=methods,
        attributes=frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute)),
        calls=frozenset(_called(node) for node in nodes if isinstance(node, ast.Call)) - {""},
        imports=frozenset(name for tree in modules for name in _imports(tree)),
        state=tuple(sorted({name for tree in modules for name in _state(tree)})),
        names=() if executes is None else _names(executes),
    )


def _is_own(owner: type) -> bool:
    return owner is not object and not owner.__module__.startswith("snakepit_bridge.base_adapter")


def _parse(owner: type) -> ast.ClassDef | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):
        return None
    return next((node for node in tree.body if isinstance(node, ast.ClassDef)), None)


def _parse_module(name: str) -> ast.Module | None:
    try:
        return ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return None


def _method(function: _Function) -> Method:
    own = list(_own_nodes(function))
    kinds = set(_annotated(function.returns))
    for node in own:
        if isinstance(node, ast.Return):
            kinds |= _literal(node.value)
    return Method(function.name, any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own), frozenset(kinds))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """What is in a function, and not in functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _annotated(annotation: ast.expr | None) -> Iterator[str]:
    """The kinds in an annotation: both of ``int | None``, the first of ``tuple[int, str]``."""
    match annotation:
        case ast.Constant(value=str() as text):
            try:
                yield from _annotated(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return
        case ast.Constant(value=None):
            yield "None"
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            yield from _annotated(left)
            yield from _annotated(right)
        case ast.Subscript(value=outer, slice=inner):
            if _last(outer) == "Optional":
                yield "None"
                yield from _annotated(inner)
            elif _last(outer) == "Union" and isinstance(inner, ast.Tuple):
                for one in inner.elts:
                    yield from _annotated(one)
            else:
                yield from _annotated(outer)
        case ast.Name() | ast.Attribute():
            yield _last(annotation)


def _literal(value: ast.expr | None) -> set[str]:
    match value:
        case ast.Constant(value=constant):
            return {"None" if constant is None else type(constant).__name__}
        case ast.Tuple():
            return {"tuple"}
        case ast.Set() | ast.SetComp():
            return {"set"}
    return set()


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _called(node: ast.Call) -> str:
    return _last(node.func)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _state(tree: ast.Module) -> set[str]:
    """Variables at the top that functions assign, or whose items they assign."""
    top = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    written: set[str] = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, _Function)):
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                written.update(node.names)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                written.add(_last(node.value))
    return top & written


def _names(executes: _Function) -> tuple[str, ...]:
    """Texts that the name of the tool is compared with."""
    found: set[str] = set()
    for node in ast.walk(executes):
        if (
            isinstance(node, ast.Compare)
            and _last(node.left) == "tool_name"
            and isinstance(node.ops[0], ast.Eq | ast.In)
        ):
            found.update(_texts(node.comparators[0]))
        elif isinstance(node, ast.Match) and _last(node.subject) == "tool_name":
            for case in node.cases:
                found.update(_texts(case.pattern))
    return tuple(sorted(found))


def _texts(node: ast.AST) -> list[str]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]

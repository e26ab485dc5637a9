"""Annotations as types, also those that are written for a Python newer than the one that reads them."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["read_annotations"]

_UNION = "bridge_runtime_union"
_HAS_UNIONS = sys.version_info >= (3, 10)


def read_annotations(thing: Any) -> dict[str, Any]:
    """The annotations of a function or class, evaluated, ``Annotated`` kept.

    ``int | None`` in a text (``from __future__ import annotations``) is understood by every Python.

    Raises what evaluating them raises.
    """
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except TypeError:
        if _HAS_UNIONS:
            raise
    hints: dict[str, Any] = {}
    for owner in reversed(thing.__mro__) if isinstance(thing, type) else (thing,):
        own: Mapping[str, Any] = getattr(owner, "__annotations__", {})
        if isinstance(owner, type):
            own = vars(owner).get("__annotations__", {})  # without those of its bases
        texts = types.SimpleNamespace(__annotations__={name: _rewritten(hint) for name, hint in own.items()})
        names = vars(sys.modules[owner.__module__])
        hints.update(typing.get_type_hints(texts, names, {_UNION: typing.Union}, include_extras=True))
    return hints


def _rewritten(hint: Any) -> Any:
    """A text with ``Union[A, B]`` for ``A | B``."""
    import ast  # takes some milliseconds, and only an old Python needs it

    class Unions(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            if not isinstance(node.op, ast.BitOr):
                return node
            union = ast.Name(_UNION, ast.Load())
            return ast.Subscript(union, ast.Tuple([node.left, node.right], ast.Load()), ast.Load())

    if isinstance(hint, typing.ForwardRef):  # as typed dicts and named tuples keep it
        hint = hint.__forward_arg__
    return ast.unparse(Unions().visit(ast.parse(hint, mode="eval"))) if isinstance(hint, str) else hint

"""The scripts that Redis runs, each as a whole while nobody else is served."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import msgspec

__all__ = ["COMMIT", "CREATE", "DELETE", "DUE", "LIST", "LOG", "READ", "TRIM", "Script"]

_FOLDER = files("bridge.stores.redis") / "lua"


class Script(msgspec.Struct, frozen=True):
    """A script in Lua."""

    text: str
    digest: str
    """What Redis knows it by once it has seen it."""


def _script(*names: str) -> Script:
    text = "\n".join((_FOLDER / f"{name}.lua").read_text() for name in names)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


CREATE = _script("session", "create")
READ = _script("session", "read")
COMMIT = _script("session", "commit")
LOG = _script("session", "log")
TRIM = _script("session", "trim")
DELETE = _script("session", "delete")
DUE = _script("due")
LIST = _script("list")

"""tool-bridge: tools written in Python, for programs in any language.

These are the names for writing adapters. Servers are run by ``bridge serve`` or ``bridge.server``, and called by
``bridge_client``.
"""

from bridge._version import __version__
from bridge.adapter import Adapter
from bridge.errors import BridgeError, Code, NoHostError, NoSessionError, ToolError
from bridge.session import SessionContext
from bridge.tool import tool
from bridge.variable_watch import Watch
from bridge.variables import Constraints, Update, UpdateKind, Variable

__all__ = [
    "Adapter",
    "BridgeError",
    "Code",
    "Constraints",
    "NoHostError",
    "NoSessionError",
    "SessionContext",
    "ToolError",
    "Update",
    "UpdateKind",
    "Variable",
    "Watch",
    "__version__",
    "tool",
]

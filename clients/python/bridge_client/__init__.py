"""Calls tools on a bridge server, from Python.

``BridgeClient`` is for asyncio; ``bridge_client.sync.BridgeClient`` has the same calls, blocking.
"""

from bridge.call import Chunk, Progress
from bridge.client_config import ClientConfig
from bridge.engines.base import ClientTls
from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.variable_watch import Watch
from bridge.variables import Constraints, SessionInfo, Update, UpdateKind, Variable
from bridge_client.backoff import Backoff
from bridge_client.breaker import BreakerPolicy, CircuitBreaker, State
from bridge_client.client import BridgeClient
from bridge_client.info import ParameterInfo, ServerInfo, ServerLimits, ToolInfo
from bridge_client.retry import RetryPolicy
from bridge_client.session import Session
from bridge_client.stream import ToolStream

__all__ = [
    "Backoff",
    "BreakerPolicy",
    "BridgeClient",
    "BridgeError",
    "Chunk",
    "CircuitBreaker",
    "ClientConfig",
    "ClientTls",
    "Code",
    "Constraints",
    "ErrorDetails",
    "FieldViolation",
    "ParameterInfo",
    "Progress",
    "RetryPolicy",
    "ServerInfo",
    "ServerLimits",
    "Session",
    "SessionInfo",
    "State",
    "ToolInfo",
    "ToolStream",
    "Update",
    "UpdateKind",
    "Variable",
    "Watch",
]

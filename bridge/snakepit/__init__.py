"""Snakepit's wire: its messages, its JSON, its errors and its telemetry.

Snakepit is a pool of Python workers for Elixir. A bridge that speaks its wire takes the place of the workers' own
server; see docs/elixir.md. Facts are of Snakepit v0.13.0, those about session variables of v0.4.2.
"""

from __future__ import annotations

__all__ = ["FINAL", "SERVICE"]

SERVICE = "/snakepit.bridge.BridgeService/"
"""How the paths of its methods begin."""
FINAL = "is-final"
"""Key in ``Chunk.metadata`` of a chunk that its tool has called the last."""

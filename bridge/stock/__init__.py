"""Adapters written for Snakepit's own Python server, served as they are.

They are known by what they have, not by what they are derived from: nothing of Snakepit's own package is imported here.
"""

from __future__ import annotations

from bridge.stock.adapter import stock_adapter
from bridge.stock.classes import is_stock

__all__ = ["is_stock", "stock_adapter"]

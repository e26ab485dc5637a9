"""What a relay is told: which adapters, on which cluster, and what they need there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Needs", "Plan"]

_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
"""The resources that every cluster knows: what they are called in options, and in what it says about its nodes."""


class Needs(msgspec.Struct, frozen=True):
    """What a process needs of its node."""

    amounts: tuple[tuple[str, float], ...] = ()
    """Names, as ``@tool(resources=...)`` has them, and how much; sorted."""

    @classmethod
    def of(cls, resources: Mapping[str, float]) -> Needs:
        """From the option of a tool."""
        return cls(tuple(sorted({"num_cpus": 1.0, **resources}.items())))

    def options(self) -> dict[str, Any]:
        """As options of an actor."""
        others = dict(self.amounts)
        options: dict[str, Any] = {name: others.pop(name) for name in _NAMES if name in others}
        return {**options, "resources": others} if others else options

    def lacks(self, node: Mapping[str, float]) -> bool:
        """Whether a node with these resources has too little, even if nothing else runs there."""
        return any(node.get(_NAMES.get(name, name), 0.0) < amount for name, amount in self.amounts)

    def most(self, nodes: list[Mapping[str, float]]) -> str:
        """The most that a node has of each, for people."""
        amounts = (
            (name, max((node.get(_NAMES.get(name, name), 0.0) for node in nodes), default=0.0))
            for name, _ in self.amounts
        )
        return _text(amounts)

    def __str__(self) -> str:
        return _text(self.amounts)


def _text(amounts: Any) -> str:
    return ", ".join(f"{name}={amount:.12g}" for name, amount in amounts)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay is to do."""

    adapters: tuple[str, ...]
    """As ``bridge.loader.load_adapters`` takes them, on the node."""
    needs: Needs = Needs()
    address: str = "auto"
    """As Ray takes it."""
    namespace: str = ""
    runtime_env: dict[str, Any] = {}
    timeout: float = 60.0
    """Seconds that the cluster has to find a place."""

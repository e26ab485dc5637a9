"""What a zygote of the server's own adapters holds."""

from __future__ import annotations

import json

from bridge.loader import load_adapters
from bridge.registry import Registry

__all__ = ["adapters"]


def adapters(argument: str) -> Registry:
    """The tools of adapters, read here once instead of in every worker.

    Args:
        argument: JSON: ``adapters``, named as ``bridge.loader.load_adapters`` takes them, and the other arguments of
            ``Registry``.
    """
    options = json.loads(argument)
    specs = options.pop("adapters")
    return Registry((cls for spec in specs for cls in load_adapters(spec)), **options)

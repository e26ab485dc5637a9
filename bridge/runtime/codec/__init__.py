"""Values in ``google.protobuf.Any``, as ``bridge.codec`` carries them, with the standard library only.

One module here for each of those there; ``docs/values.md`` has the table. What is large goes beside the message where
the sender has said so, see ``shared``.
"""

from __future__ import annotations

from .tensors import Tensor

__all__ = ["Tensor"]

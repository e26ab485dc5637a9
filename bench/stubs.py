"""Generated code without the package around it.

Reference servers and peers speak the same messages as the bridge, but must neither pay for importing it nor need what
it needs. So the package ``bridge`` is put in place as an empty shell that only knows where ``bridge.v1`` is.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_shell = types.ModuleType("bridge")
_shell.__path__ = [str(_ROOT / "bridge")]
sys.modules["bridge"] = _shell

from bridge.v1 import bridge_pb2, bridge_pb2_grpc  # noqa: E402  (only after the shell is in place)

__all__ = ["bridge_pb2", "bridge_pb2_grpc"]

"""The messages of ``plugin`` (proto/goplugin/plugin.proto).

They live in a descriptor pool of their own, ``DESCRIPTOR.pool``: plugins may import go-plugin's own generated modules
or another library's, which claim the same names. Server reflection has to look there, too.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import empty_pb2

from bridge.private_messages import load_file, message_classes

DESCRIPTOR = load_file(Path(__file__).with_suffix(".binpb"), (empty_pb2.DESCRIPTOR,))
globals().update(message_classes(DESCRIPTOR))

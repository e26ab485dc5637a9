"""The messages of ``snakepit.bridge`` (proto/snakepit/snakepit_bridge.proto).

They live in a descriptor pool of their own: adapters written for Snakepit import Snakepit's own generated module, which
claims the same names.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import any_pb2, timestamp_pb2

from bridge.private_messages import load_file, message_classes

DESCRIPTOR = load_file(Path(__file__).with_suffix(".binpb"), (any_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR))
globals().update(message_classes(DESCRIPTOR))

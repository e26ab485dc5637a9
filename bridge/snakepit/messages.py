"""The messages of ``snakepit.bridge`` (proto/snakepit/snakepit_bridge.proto).

They live in a descriptor pool of their own. Adapters written for Snakepit import Snakepit's own generated module, which
claims the same names in protobuf's default pool, and one process has room for one claim.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import any_pb2, descriptor_pool, message_factory, timestamp_pb2


def _load() -> None:
    """Makes a class of every message, here."""
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, timestamp_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    found = pool.AddSerializedFile(_only_file(Path(__file__).with_suffix(".binpb").read_bytes()))
    for name, descriptor in found.message_types_by_name.items():
        globals()[name] = message_factory.GetMessageClass(descriptor)


def _only_file(described: bytes) -> bytes:
    """The file of a ``FileDescriptorSet`` with a single one: what follows its tag and its length. The message classes
    for that take half a megabyte."""
    end = 1
    while described[end] & 0x80:  # more of the length follows
        end += 1
    return described[end + 1 :]


_load()

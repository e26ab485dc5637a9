"""``bridge.v1.Map`` with its fields in the order of the wire.

On the wire a protobuf map is a repeated message of key and value (protobuf.dev/programming-guides/encoding#maps), and
protobuf's own map type forgets the order. A Python dict has one, and for a dict of columns it matters, so the same
bytes are written and read here by a message that declares them as repeated. To every other program it is a ``Map``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory

from bridge.v1 import values_pb2

__all__ = ["ordered_map"]


@lru_cache(maxsize=1)
def ordered_map() -> Any:
    """The class of the message."""
    from google.protobuf import descriptor_pb2  # half a megabyte; most dicts are JSON, and have no need of this

    file = descriptor_pb2.FileDescriptorProto(
        name="bridge/codec/ordered_map.proto",
        package="bridge.codec",
        syntax="proto3",
        dependency=[any_pb2.DESCRIPTOR.name, values_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="OrderedMap")
    field = message.nested_type.add(name="Field")
    field.field.add(name="key", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    any_type = "." + any_pb2.Any.DESCRIPTOR.full_name
    field.field.add(name="value", number=2, type="TYPE_MESSAGE", type_name=any_type, label="LABEL_OPTIONAL")
    repeated = {"fields": ".bridge.codec.OrderedMap.Field", "entries": ".bridge.v1.Map.Entry"}
    for number, (name, type_name) in enumerate(repeated.items(), 1):
        message.field.add(name=name, number=number, type="TYPE_MESSAGE", type_name=type_name, label="LABEL_REPEATED")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bridge.codec.OrderedMap"))

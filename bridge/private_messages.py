"""Messages of other projects' wires, in descriptor pools of their own.

Whoever works with such a wire may load the other project's generated module, too. Both claim the same names, and
protobuf's default pool has room for one claim in a process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message


def load_file(described: Path, imports: Iterable[FileDescriptor]) -> FileDescriptor:
    """The file in a ``FileDescriptorSet`` that holds a single one, loaded into a pool of its own with the ``imports``
    that it names. The pool is the result's ``pool``."""
    pool = descriptor_pool.DescriptorPool()
    for known in imports:
        pool.AddSerializedFile(known.serialized_pb)
    return pool.AddSerializedFile(_only_file(described.read_bytes()))


def message_classes(file: FileDescriptor) -> dict[str, type[Message]]:
    """A class of every message of ``file`` by its name."""
    return {
        name: message_factory.GetMessageClass(descriptor) for name, descriptor in file.message_types_by_name.items()
    }


def _only_file(described: bytes) -> bytes:
    """What follows its tag and its length. The message classes for that take half a megabyte."""
    end = 1
    while described[end] & 0x80:  # more of the length follows
        end += 1
    return described[end + 1 :]

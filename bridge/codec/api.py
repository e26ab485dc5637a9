"""The ordered list of converters, and the functions that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from bridge.codec import arrow, containers, json_text, messages, numbers, objects, scalars, tensors, texts, times
from bridge.codec.base import DEFAULT_LIMITS, Limits, Packed, Refusal, type_name, unsupported
from bridge.codec.registry import (
    CONVERTERS,
    LOWER,
    PACK,
    PACK_LOWERED,
    READERS,
    find_reader,
    not_valid,
    pack_value,
    read,
)
from bridge.errors import BridgeError, invalid_argument

__all__ = ["BUILT_IN", "decode", "decode_fields", "encode", "pack", "register_message", "to_any"]

_M = TypeVar("_M", bound=Message)

# The order decides for a value that belongs to several families: an IntEnum is an Enum before it is an int, a datetime
# is a point in time before it is a date, and what an array, a message or a model is comes before its being a container.
CONVERTERS.extend(
    (
        *texts.ENUMS,
        *tensors.CONVERTERS,
        *messages.CONVERTERS,
        *objects.CONVERTERS,
        *scalars.CONVERTERS,
        *numbers.CONVERTERS,
        *times.CONVERTERS,
        *texts.CONVERTERS,
        *containers.CONVERTERS,
        *arrow.CONVERTERS,
    )
)

for _family in (scalars, containers):
    PACK.update(_family.PACK)
for _family in (scalars, json_text):
    PACK_LOWERED.update(_family.PACK_LOWERED)
for _family in (scalars, numbers, times, texts, containers, tensors):
    LOWER.update(_family.LOWER)
for _family in (scalars, json_text, numbers, times, containers, tensors, arrow, messages):
    READERS.update(_family.READERS)

BUILT_IN = frozenset(READERS)
"""The type URLs of the table; those that ``register_message`` adds are not among them, nor are handles."""

for _family in (scalars, tensors, arrow):
    READERS.update(_family.SHARED_READERS)


def to_any(value: object, path: str = "$") -> Packed:
    """What an ``Any`` holds of a value: ``type_url`` and ``value``.

    Args:
        value: anything of the table in ``docs/values.md``.
        path: how an error names this value.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, with the path of the part that cannot be carried.
    """
    try:
        packer = PACK.get(type(value))
        return packer(value) if packer is not None else pack_value(value)
    except Refusal as refusal:
        raise refusal.as_error(path) from None
    except BridgeError:
        raise
    except Exception as error:
        # A property, iterator or conversion of the user's own class failed.
        raise unsupported(f"reading a {type_name(value)} failed with {type_name(error)}").as_error(path) from error


def encode(value: object, into: AnyMessage, path: str = "$") -> None:
    """Puts a value into an ``Any``, in place; its former content is replaced, or left if the value is refused.

    Arguments and errors as for ``to_any``.
    """
    into.type_url, into.value = to_any(value, path)


def pack(value: object) -> AnyMessage:
    """``encode`` into a new ``Any``."""
    message = AnyMessage()
    encode(value, message)
    return message


def decode(message: AnyMessage, path: str = "$", limits: Limits = DEFAULT_LIMITS) -> Any:
    """The value in an ``Any``.

    Args:
        message: the message; it is not kept.
        path: how an error names this value.
        limits: what the value may cost.

    Raises:
        BridgeError: INVALID_ARGUMENT with the path of the part that is wrong and one of the reasons
            ``VALUE_MALFORMED`` (the bytes are not what the type says), ``VALUE_REFUSED`` (too deep, too many digits,
            out of range) and ``VALUE_TYPE_UNKNOWN``; FAILED_PRECONDITION, reason ``MISSING_EXTRA``, for a table where
            pyarrow is not installed.
    """
    try:
        return read(message, limits, 0)
    except Refusal as refusal:
        raise refusal.as_error(path) from None


def decode_fields(fields: Mapping[str, AnyMessage], limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The values in a map of ``Any``, by key; ``decode`` for all of them, with ``$.key`` as path.

    On the way of every call, so it spells out what ``decode`` and ``read`` do.
    """
    values: dict[str, Any] = {}
    name = ""
    try:
        for name in fields:
            message = fields[name]
            url = message.type_url
            values[name] = (READERS.get(url) or find_reader(url))(message.value, limits, 0)
    except Refusal as refusal:
        raise refusal.as_error(f"$.{name}") from None
    except (DecodeError, UnicodeDecodeError):
        raise not_valid(fields[name].type_url).as_error(f"$.{name}") from None
    return values


def register_message(cls: type[_M]) -> type[_M]:
    """Lets ``decode`` give messages of this class as themselves. Also a decorator.

    Raises:
        BridgeError: INVALID_ARGUMENT if the class is not a message, or one that the table gives another meaning.
    """
    if not (isinstance(cls, type) and issubclass(cls, Message)):
        raise invalid_argument("cls", "not a generated protobuf message class")
    url = messages.message_url(cls)
    if url in BUILT_IN:
        raise invalid_argument("cls", f"{cls.DESCRIPTOR.full_name} has a meaning of its own, see docs/values.md")
    READERS[url] = messages.message_reader(cls)
    return cls

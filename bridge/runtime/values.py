"""Values to and from what ``google.protobuf.Any`` holds: the twin of ``bridge.codec`` for plugins.

``docs/values.md`` says what carries what. Two things are different: messages that a program has registered are not
known here, and nothing is installed, so a table needs pyarrow in the plugin's environment, and an array that arrives
where numpy is not installed is a ``Tensor``.
"""

from __future__ import annotations

from typing import Any

from .codec import arrow, containers, json_text, messages, numbers, objects, scalars, tensors, texts, times
from .codec.base import Packed, Refusal, type_name, unsupported
from .codec.registry import CONVERTERS, LOWER, PACK, PACK_LOWERED, READERS, pack_value, read
from .codec.tensors import Tensor
from .errors import BridgeError

__all__ = ["Tensor", "from_any", "to_any"]

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
PACK.update({**scalars.PACK, **containers.PACK})
PACK_LOWERED.update({**scalars.PACK_LOWERED, **json_text.PACK_LOWERED})
LOWER.update({**scalars.LOWER, **times.LOWER, **texts.LOWER, **containers.LOWER, **tensors.LOWER})
for _family in (scalars, json_text, numbers, times, containers, tensors, arrow, messages):
    READERS.update(_family.READERS)


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


def from_any(url: str, data: bytes, path: str = "$") -> Any:
    """The value in an ``Any``.

    Args:
        url: its ``type_url``.
        data: its ``value``.
        path: how an error names this value.

    Raises:
        BridgeError: INVALID_ARGUMENT with the path of the part that is wrong and one of the reasons
            ``VALUE_MALFORMED`` (the bytes are not what the type says), ``VALUE_REFUSED`` (too deep, too many digits,
            out of range) and ``VALUE_TYPE_UNKNOWN``; FAILED_PRECONDITION, reason ``MISSING_EXTRA``, for a table where
            pyarrow is not installed.
    """
    try:
        return read(url, data, 0)
    except Refusal as refusal:
        raise refusal.as_error(path) from None

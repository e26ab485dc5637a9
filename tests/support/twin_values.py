"""What the tests of the values of plugins share: both codecs on the same value or message."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.codec import decode, pack
from bridge.errors import BridgeError as FullError
from bridge.runtime.errors import BridgeError
from bridge.runtime.values import from_any, to_any
from bridge.v1 import values_pb2
from tests.unit.codec_values import same

PREFIX = "type.googleapis.com/"


def written(value: Any) -> Any:
    """What the bridge reads of what a plugin has written."""
    type_url, data = to_any(value)
    return decode(AnyMessage(type_url=type_url, value=data))


def read(value: Any) -> Any:
    """What a plugin reads of what the bridge has written."""
    packed = pack(value)
    return from_any(packed.type_url, packed.value)


def name(value: Any) -> str:
    """The message a plugin carries a value by."""
    return to_any(value)[0].rpartition("/")[2]


def outcome(read: Any) -> Any:
    try:
        return ("value", read())
    except (BridgeError, FullError) as error:
        return ("refusal", error.code.name, error.reason, [violation.field for violation in error.violations])


def outcomes(packed: AnyMessage) -> tuple[list[Any], list[Any]]:
    """What a plugin makes of a message, and what the bridge does."""
    return list(outcome(lambda: from_any(packed.type_url, packed.value))), list(outcome(lambda: decode(packed)))


def agrees(packed: AnyMessage) -> None:
    """Both read the same, or refuse it for the same reason and with the same path."""
    found, expected = outcomes(packed)
    if isinstance(expected[1], pa.Table):
        assert found[1].equals(expected[1])
    else:
        assert same(found, expected)


def document(content: str | bytes) -> AnyMessage:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return AnyMessage(type_url="x/bridge.v1.Json", value=values_pb2.Json(document=raw).SerializeToString())


def nested(depth: int, innermost: Any) -> Any:
    for _ in range(depth):
        innermost = [innermost]
    return innermost

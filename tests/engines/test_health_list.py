"""Health tells of all services at once."""

from __future__ import annotations

import pytest
from grpc_health.v1.health_pb2 import HealthListResponse

from bridge.errors import BridgeError, Code
from bridge.frontends.health import NOT_SERVING, SERVING, Health
from tests.engines.conftest import Serve


async def test_list_tells_the_status_of_every_service(serve: Serve) -> None:
    health = Health(["plugin", "other"])
    channel = await serve(methods=tuple(health.methods()))

    async def listed() -> dict[str, int]:
        answer = HealthListResponse.FromString(await channel.unary("/grpc.health.v1.Health/List", b"", timeout=5))
        return {name: response.status for name, response in answer.statuses.items()}

    assert await listed() == dict.fromkeys(("", "plugin", "other"), NOT_SERVING)
    health.set(True, "plugin")
    assert await listed() == {"": NOT_SERVING, "plugin": SERVING, "other": NOT_SERVING}
    with pytest.raises(BridgeError) as caught:
        await channel.unary("/grpc.health.v1.Health/List", b"\xff", timeout=5)
    assert caught.value.code is Code.INVALID_ARGUMENT

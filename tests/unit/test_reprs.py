"""What may end up in a log shows neither secrets nor values."""

from __future__ import annotations

import asyncio

from bridge.call import ToolCall
from bridge.engines.base import ClientTls, ServerTls
from bridge.host import NoHost
from bridge.session import SessionContext


async def test_calls_contexts_and_certificates_keep_their_contents_to_themselves() -> None:
    call = ToolCall(
        tool="login",
        arguments={"password": "s3cret"},
        host=NoHost(),
        session_id="s3cret",
        metadata={"k": "s3cret"},
        headers={"authorization": "Bearer s3cret"},
    )
    shown = [
        repr(call),
        repr(SessionContext(call, asyncio.get_running_loop())),
        repr(ServerTls(b"s3cret", b"s3cret")),
        repr(ClientTls(private_key=b"s3cret")),
    ]
    assert "s3cret" not in "".join(shown)
    assert "login" in shown[0]

"""A call that is not answered yet."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any, Callable

from . import frames
from .call_path import CALL_PATH, TRACE_HEADERS
from .calls import NO_VALUE, Request, pack_chunk
from .cancel_event import CancelEvent
from .errors import BridgeError
from .mailbox import Mailbox
from .shared import Memory

__all__ = ["RunningCall"]

log = logging.getLogger("bridge.worker")

NO_REQUEST = Request("", "", {}, {})


class RunningCall:
    """One call.

    Args:
        message: the frame, as it came.
        memory: what came with it.
        send: sends a frame.
    """

    __slots__ = (
        "cancelled",
        "credits",
        "data",
        "deadline",
        "failure",
        "headers",
        "interrupt",
        "is_over",
        "memory",
        "number",
        "principal",
        "request",
        "send",
        "sequence",
        "streaming",
    )

    def __init__(self, message: list[Any], memory: Memory | None, send: Callable[..., None]) -> None:
        _, self.number, self.data, self.headers, remaining, self.principal, self.streaming = message[:7]
        self.deadline: float | None = None if remaining is None else monotonic() + remaining
        self.memory = memory
        self.send = send
        self.request: Request = NO_REQUEST
        self.cancelled = CancelEvent()
        self.failure: BridgeError | None = None
        """Why nobody waits for it any more."""
        self.interrupt: Callable[[], object] | None = None
        """Tells an async tool that it is cancelled; usable in any thread."""
        self.credits = Mailbox(by_pipe=True)
        """One thing for each chunk that may be sent."""
        if self.streaming:
            self.credits.items.extend(range(frames.CREDIT_AT_FIRST))
        self.sequence = 0
        self.is_over = False

    @property
    def path_below(self) -> str:
        """The path of calls that its tool makes."""
        path = self.headers.get(CALL_PATH)
        return f"{path},{self.request.tool}" if path else self.request.tool

    @property
    def further_headers(self) -> dict[str, str]:
        """What its questions take along."""
        headers = {key: self.headers[key] for key in TRACE_HEADERS if key in self.headers}
        headers[CALL_PATH] = self.path_below
        return headers

    def stop(self, failure: BridgeError) -> None:
        """Tells the tool that nobody waits for it; the first reason counts."""
        if self.failure is not None or self.is_over:
            return
        self.failure = failure
        try:
            self.cancelled.set()
        except Exception:  # callbacks are the tool author's code
            log.exception("what a tool wants to be told when it is cancelled failed")
        if self.interrupt is not None:
            self.interrupt()

    def note(self, progress: Any) -> None:
        """Sends a note of progress."""
        if not self.is_over:
            self.send(frames.frame(frames.CHUNK, self.number, pack_chunk(NO_VALUE, self.next_sequence(), progress)))

    def next_sequence(self) -> int:
        """The number of the next chunk."""
        self.sequence += 1
        return self.sequence - 1

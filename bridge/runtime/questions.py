"""What the tools of a worker ask their host, by way of the server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from . import frames
from .errors import BridgeError, Code, NoHostError
from .mailbox import Mailbox
from .pipe import Pipe
from .running import RunningCall
from .status import read_status, to_status

__all__ = ["Question", "Questions"]


class Question:
    """A question, and the answers that nobody has taken yet.

    Args:
        number: of the question.
        deadline: ``time.monotonic()`` by which its answers are needed.
    """

    __slots__ = ("deadline", "is_over", "mailbox", "number")

    def __init__(self, number: int, deadline: float | None) -> None:
        self.number = number
        self.deadline = deadline
        self.mailbox = Mailbox(by_pipe=True)
        self.is_over = False

    def take(self) -> bytes | None:
        """The next answer, which has come; ``None`` after the last. Raises ``BridgeError``."""
        kind, _, content = self.mailbox.items.popleft()
        if kind == frames.ANSWER:
            answer: bytes = content
            return answer
        self.is_over = True
        if not content:
            return None
        error = read_status(content)
        raise NoHostError(error.message) if error.reason == "NO_HOST" else error


class Questions:
    """The questions of a worker that are not answered yet.

    Args:
        pipe: where they go.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.max_bytes = 16 * 1024 * 1024
        """Most bytes of a question."""
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}

    def answered(self, message: list[Any]) -> None:
        """Takes an answer to whoever waits for it. Without meaning if nobody does: it came too late."""
        question = self._open.get(message[1])
        if question is not None:
            question.mailbox.put(message)

    def end(self, error: BridgeError) -> None:
        """Lets all of them fail."""
        for number, question in tuple(self._open.items()):
            question.mailbox.put([frames.ANSWER_END, number, to_status(error)])

    @contextmanager
    def ask(self, call: RunningCall, path: str, request: bytes, *, streaming: bool) -> Iterator[Question]:
        """Asks; who leaves before the last answer takes the question back. Raises ``BridgeError``."""
        if len(request) > self.max_bytes:
            raise BridgeError(
                Code.RESOURCE_EXHAUSTED,
                f"a question of {len(request)} bytes to the host, and {self.max_bytes} are allowed "
                "(--max-message-bytes): ask for less at once",
                reason="MESSAGE_TOO_LARGE",
            )
        remaining = None if call.deadline is None else call.deadline - monotonic()
        if remaining is not None and remaining <= 0:
            message = "no time is left to ask the host"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED")
        number = next(self._numbers)
        question = self._open[number] = Question(number, call.deadline)
        self.pipe.send(
            frames.frame(frames.ASK, number, call.number, path, request, call.further_headers, remaining, streaming)
        )
        try:
            yield question
        finally:
            del self._open[number]
            if not question.is_over:
                self.pipe.send(frames.frame(frames.ASK_CANCEL, number))

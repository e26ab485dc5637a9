"""The pipe as a channel: what a tool asks of its host goes to the server, which asks the host."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager

from bridge.errors import BridgeError, Code, NoHostError
from bridge.status import read_status, to_status
from bridge.tool_messages import bad_response
from bridge.worker.frames import CREDIT, Answer, AnswerEnd, Ask, AskCancel, AskCredit

__all__ = ["OpenQuestions", "PipeChannel"]

Headers = Sequence[tuple[str, str]]


class OpenQuestions:
    """The questions of a worker that are not answered yet.

    Args:
        send: sends a message to the server.
    """

    def __init__(self, send: Callable[[Ask | AskCancel | AskCredit], None]) -> None:
        self.send = send
        self.max_bytes = 16 * 1024 * 1024
        """Most bytes of a question."""
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def answered(self, frame: Answer | AnswerEnd) -> None:
        """Takes an answer to whoever waits for it. Without meaning if nobody does: it came too late."""
        question = self._open.get(frame.id)
        if question is not None:
            question.frames.put_nowait(frame)

    def end(self, error: BridgeError) -> None:
        """Lets all of them fail."""
        for number, question in self._open.items():
            question.frames.put_nowait(AnswerEnd(number, to_status(error)))

    @contextmanager
    def ask(
        self, call: int, path: str, request: bytes, headers: Headers, timeout: float | None, *, streaming: bool
    ) -> Iterator[_Question]:
        """Asks; who leaves before the last answer takes the question back."""
        if len(request) > self.max_bytes:
            raise BridgeError(
                Code.RESOURCE_EXHAUSTED,
                f"a question of {len(request)} bytes to the host, and {self.max_bytes} are allowed "
                "(--max-message-bytes): ask for less at once",
                reason="MESSAGE_TOO_LARGE",
            )
        number = next(self._numbers)
        question = self._open[number] = _Question(number, timeout)
        self.send(Ask(number, call, path, request, dict(headers), timeout, streaming))
        try:
            yield question
        finally:
            del self._open[number]
            if not question.is_over:
                self.send(AskCancel(number))


class _Question:
    """A question, and the answers that nobody has taken yet."""

    __slots__ = ("_deadline", "frames", "id", "is_over")

    def __init__(self, number: int, timeout: float | None) -> None:
        self.id = number
        self.frames: asyncio.Queue[Answer | AnswerEnd] = asyncio.Queue()
        self.is_over = False
        self._deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout

    async def take(self) -> bytes | None:
        """The next answer; ``None`` after the last. Raises ``BridgeError``."""
        try:
            async with asyncio.timeout_at(self._deadline):
                frame = await self.frames.get()
        except TimeoutError:
            message = "the host did not answer before the deadline"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED") from None
        if isinstance(frame, Answer):
            return frame.response
        self.is_over = True
        if not frame.status:
            return None
        error = read_status(frame.status)
        raise NoHostError(error.message) if error.reason == "NO_HOST" else error


class PipeChannel:
    """The channel of one call. A ``bridge.engines.base.Channel``.

    Args:
        questions: those of the worker.
        call: the number of the call on whose behalf is asked.
    """

    __slots__ = ("_call", "_questions")

    def __init__(self, questions: OpenQuestions, call: int) -> None:
        self._questions = questions
        self._call = call

    async def unary(self, path: str, request: bytes, *, headers: Headers = (), timeout: float | None = None) -> bytes:
        """Asks and returns the answer. Raises ``BridgeError``."""
        with self._questions.ask(self._call, path, request, headers, timeout, streaming=False) as question:
            answer = await question.take()
            question.is_over = True
            if answer is None:
                raise bad_response("there is none")
            return answer

    async def stream(
        self, path: str, request: bytes, *, headers: Headers = (), timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Asks and returns the answers as they come; closing it early takes the question back."""
        taken = 0
        with self._questions.ask(self._call, path, request, headers, timeout, streaming=True) as question:
            while (answer := await question.take()) is not None:
                yield answer
                taken += 1
                if taken == CREDIT // 2:  # in two goes, so that neither side waits for the other
                    self._questions.send(AskCredit(question.id, taken))
                    taken = 0

    async def ready(self) -> None:
        """Returns: the pipe was there before the call."""

    async def aclose(self) -> None:
        """Does nothing: the pipe is there after the call, too."""

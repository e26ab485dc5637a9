"""One call's way to its host: conversations, awaited or blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from . import frames
from .calls import NO_VALUE
from .errors import BridgeError, Code
from .failures import cancelled
from .host_tools import StreamReader, bad_response
from .mailbox import Mailbox
from .questions import Question, Questions
from .running import RunningCall
from .turns import Turn
from .variables import Ask, Conversation, Pause, Step

__all__ = ["Answers", "Asking"]

T = TypeVar("T")


class Asking:
    """Asks the host on behalf of a call.

    Args:
        questions: those of the worker.
        call: the call.
    """

    __slots__ = ("_call", "_questions")

    def __init__(self, questions: Questions, call: RunningCall) -> None:
        self._questions = questions
        self._call = call

    async def talk(self, conversation: Conversation[T]) -> T:
        """Goes through a conversation; returns what it returns. Raises ``BridgeError``."""
        try:
            step = next(conversation)
            while True:
                try:
                    result = await self._do(step)
                except BaseException as error:  # noqa: BLE001 - a cancel, too, is for the conversation to end by
                    step = conversation.throw(error)
                else:
                    step = conversation.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def talk_blocking(self, conversation: Conversation[T]) -> T:
        """The same without an event loop. Raises ``BridgeError``, CANCELLED if the call is."""
        try:
            step = next(conversation)
            while True:
                try:
                    result = self._do_blocking(step)
                except BaseException as error:  # noqa: BLE001 - see above
                    step = conversation.throw(error)
                else:
                    step = conversation.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Ask):
            with self._questions.ask(self._call, step.path, step.request, streaming=False) as question:
                await self.wait(question.mailbox, question.deadline)
                return _only_answer(question)
        if isinstance(step, Turn):
            return await self.wait(step.come, None)
        if isinstance(step, Pause):
            import asyncio

            return await asyncio.sleep(step.seconds)
        return await step.value if hasattr(step.value, "__await__") else step.value

    def _do_blocking(self, step: Step) -> Any:
        if isinstance(step, Ask):
            self.check()
            with self._questions.ask(self._call, step.path, step.request, streaming=False) as question:
                self.wait_blocking(question.mailbox, question.deadline)
                return _only_answer(question)
        if isinstance(step, Turn):
            return self.wait_blocking(step.come, None)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if hasattr(step.value, "__await__"):
            if hasattr(step.value, "close"):
                step.value.close()
            raise TypeError("the function given to update() is async, and here is a plain tool")
        return step.value

    async def wait(self, mailbox: Mailbox, deadline: float | None) -> None:
        """Returns when something is in a mailbox. Raises ``BridgeError`` DEADLINE_EXCEEDED."""
        if not mailbox.items:
            await _wait(self._questions, mailbox, deadline)
        if not mailbox.items:
            raise _too_late()

    def wait_blocking(self, mailbox: Mailbox, deadline: float | None) -> None:
        """The same without an event loop; CANCELLED if the call is."""
        self.check()
        if not mailbox.items:
            self._questions.pipe.wait(mailbox, deadline, self._call.cancelled)
        if not mailbox.items:
            self.check()
            raise _too_late()

    def check(self) -> None:
        """Raises ``BridgeError`` CANCELLED if the call is."""
        if self._call.cancelled.is_set():
            raise cancelled()

    @contextmanager
    def stream(self, path: str, request: bytes) -> Iterator[Answers]:
        """Asks for a stream of chunks; leaving early takes the question back."""
        with self._questions.ask(self._call, path, request, streaming=True) as question:
            yield Answers(self, self._questions, question)


class Answers:
    """The values of a stream, as they come.

    Args:
        asking: who waits for them.
        questions: those of the worker.
        question: that which they answer.
    """

    __slots__ = ("_asking", "_question", "_questions", "_reader", "_taken")

    def __init__(self, asking: Asking, questions: Questions, question: Question) -> None:
        self._asking = asking
        self._questions = questions
        self._question = question
        self._reader = StreamReader()
        self._taken = 0

    async def more(self) -> list[Any] | None:
        """Waits for the next message: its values, of which there may be none; ``None`` at the end."""
        await self._asking.wait(self._question.mailbox, self._question.deadline)
        return self._read()

    def more_blocking(self) -> list[Any] | None:
        """The same without an event loop."""
        self._asking.wait_blocking(self._question.mailbox, self._question.deadline)
        return self._read()

    def _read(self) -> list[Any] | None:
        answer = self._question.take()
        if answer is None:
            self._reader.end()
            return None
        self._taken += 1
        if self._taken == frames.CREDIT_AT_FIRST // 2:  # in two goes, so that neither side waits for the other
            self._questions.pipe.send(frames.frame(frames.ASK_CREDIT, self._question.number, self._taken))
            self._taken = 0
        chunk = self._reader.feed(answer)
        return [] if chunk is None or chunk.value is NO_VALUE else [chunk.value]


def _only_answer(question: Question) -> bytes:
    answer = question.take()
    question.is_over = True
    if answer is None:
        raise bad_response("there is none")
    return answer


async def _wait(questions: Questions, mailbox: Mailbox, deadline: float | None) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    owner = threading.get_ident()
    future: asyncio.Future[None] = loop.create_future()

    def come() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> None:
        if threading.get_ident() == owner:
            come()
        else:
            loop.call_soon_threadsafe(come)

    mailbox.wake = wake
    timer = None if deadline is None else loop.call_later(max(0.0, deadline - time.monotonic()), come)
    with questions.pipe.being_read():
        try:
            if not mailbox.items:
                await future
        finally:
            mailbox.wake = None
            if timer is not None:
                timer.cancel()


def _too_late() -> BridgeError:
    message = "the host did not answer before the deadline"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED")

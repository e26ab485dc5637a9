"""Moments of a call. Each begins one and returns when it is certain that it is there; nothing goes on by itself."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.kill.processes import Call, until
from tests.kill.stage import Stage

__all__ = ["MOMENTS", "Scene"]

MANY = 200
"""Values of a stream of which more are on their way than a client takes that takes none."""
LARGE = 300_000
"""Bytes of each of them."""
HUGE = 8_000_000
"""Characters of one result, more than all buffers between the tool and its client."""


class Scene:
    """A call that stands still.

    Args:
        call: the call.
        worker: the process that is at work for it, or would be.
        child: what that has started.
        ahead: another client's call, which keeps it from its worker.
    """

    def __init__(self, call: Call, worker: int, child: int | None = None, ahead: Call | None = None) -> None:
        self.call, self.worker, self.child, self.ahead = call, worker, child, ahead
        self._stack = ExitStack()

    def then(self, function: Callable[..., object], *args: object) -> None:
        """What is done when the call is to go on."""
        self._stack.callback(function, *args)

    def go_on(self) -> None:
        """Lets everything go on that is left of it. Repeating it is harmless."""
        self._stack.close()


Moment = Callable[[Stage, str], Scene]


def _scene(
    stage: Stage, key: str, call: Call, worker: int, child: int | None = None, ahead: Call | None = None
) -> Scene:
    scene = Scene(call, worker, child, ahead)
    scene.then(stage.signs.make, f"{key} may go on")
    return scene


def queued(stage: Stage, key: str) -> Scene:
    """It waits for the only worker. There is one place to wait: where two call, one is refused when the other waits."""
    ahead = stage.call("works", key, by=stage.other)
    worker = stage.signs.come(f"{key} runs")
    calls = [stage.call("works", f"{key}_queued") for _ in range(2)]
    until(lambda: any(call.is_over for call in calls), "the refusal of a call")
    calls.sort(key=lambda call: call.is_over)
    assert calls[1].reason() == "RESOURCE_EXHAUSTED SERVER_BUSY"
    scene = _scene(stage, key, calls[0], worker, stage.signs.come(f"{key} child"), ahead)
    scene.then(stage.signs.make, f"{key}_queued may go on")
    return scene


def starting(stage: Stage, key: str) -> Scene:
    """Its worker enters the lifespan."""
    gate = ExitStack()
    gate.enter_context(_shut(stage.signs.folder / "gate"))
    before = stage.signs.names()

    def starts() -> list[str]:
        return [name for name in stage.signs.names() - before if name.startswith("starts ")]

    call = stage.call("works_alone", key)
    until(starts, "the start of a worker")
    scene = _scene(stage, key, call, stage.signs.come(starts()[0]))
    scene.then(gate.close)
    return scene


def running(stage: Stage, key: str) -> Scene:
    """Its tool runs."""
    call = stage.call("works", key)
    return _scene(stage, key, call, stage.signs.come(f"{key} runs"), stage.signs.come(f"{key} child"))


def mid_stream(stage: Stage, key: str) -> Scene:
    """Some values have come, and its generator stands."""
    call = stage.call("counts", key, do="stream")
    worker = stage.signs.come(f"{key} counted")
    until(lambda: len(call.chunks) == 3, "the values before")
    return _scene(stage, key, call, worker)


def mid_callback(stage: Stage, key: str) -> Scene:
    """Its tool waits for a tool of the host."""
    call = stage.call("asks", key)
    worker = stage.signs.come(f"{key} runs")
    stage.signs.come(f"{key} on host")
    return _scene(stage, key, call, worker)


def replying(stage: Stage, key: str) -> Scene:
    """Values are on their way, and its client takes none."""
    call = stage.call("pours", key, do="stream", values=MANY, size=LARGE)
    return _answering(stage, key, call, f"{key} pours")


def answering(stage: Stage, key: str) -> Scene:
    """Its result is on its way, and its client does not take it."""
    call = stage.call("gives", key, size=HUGE)
    return _answering(stage, key, call, f"{key} given")


def _answering(stage: Stage, key: str, call: Call, sign: str) -> Scene:
    worker = stage.signs.come(f"{key} runs")
    scene = _scene(stage, key, call, worker)
    client = stage.client.pid
    os.kill(client, signal.SIGSTOP)
    scene.then(os.kill, client, signal.SIGCONT)
    stage.signs.make(f"{key} may go on")
    stage.signs.come(sign)
    return scene


@contextmanager
def _shut(gate: Path) -> Iterator[None]:
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


MOMENTS: dict[str, Moment] = {
    function.__name__: function
    for function in (queued, starting, running, mid_stream, mid_callback, replying, answering)
}

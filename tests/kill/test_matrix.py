"""Each process is killed (SIGKILL) at each moment of a call, and only what has to be lost is lost.

Whatever it was: all that the killed process has started is gone in two seconds; whoever waits for the call is told, and
by a code and a reason; what was acknowledged can be read again; the next call works; and who survives holds no more
descriptors, threads, zombies, memory or files than before.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.kill.moments import HUGE, LARGE, MANY, MOMENTS, Scene
from tests.kill.processes import Call, Usage, family, until, usage
from tests.kill.stage import Stage, adapters, plugins
from tests.worker.pids import watched

if sys.platform != "linux":
    pytest.skip("worker processes need Linux", allow_module_level=True)

VICTIMS = ("client", "server", "worker", "host")
LOST = "UNAVAILABLE"
DIED = "UNAVAILABLE WORKER_DIED"
NO_HOST = "UNAVAILABLE HOST_UNAVAILABLE"
FINE = ""

TOLD: dict[str, dict[str, str]] = {
    # The client is told nothing: it is dead.
    "client": {},
    # The connection is gone.
    "server": dict.fromkeys(MOMENTS, LOST),
    "worker": {
        **dict.fromkeys(MOMENTS, DIED),
        "queued": FINE,  # it gets another worker; the call that had that one is told
        "starting": "UNAVAILABLE WORKER_START_FAILED",
    },
    "host": {
        **dict.fromkeys(MOMENTS, NO_HOST),  # the tool wants to write
        "mid_callback": LOST,
        "replying": FINE,  # it does not need the host any more
        "answering": FINE,
    },
}
"""What its caller is told, by who is killed and when."""

SEEN = {
    ("client", "running"): "cancelled",
    ("client", "mid_stream"): "cancelled",
    ("client", "mid_callback"): "cancelled on host",
    ("client", "replying"): "closed",
    ("server", "mid_callback"): "cancelled on host",
    ("worker", "mid_callback"): "cancelled on host",
}
"""What tools that survive see of it."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Everything, running, for all tests of a kind."""
    folder = tmp_path_factory.mktemp("kill")
    folder.chmod(0o700)
    stage = Stage(folder, request.param(folder))
    try:
        stage.start()
        yield stage
    finally:
        stage.close()


def check_told(victim: str, moment: str, call: Call) -> None:
    """The caller of a call that was hit, or not."""
    expected = TOLD[victim][moment]
    assert call.reason() == expected, call.outcome()
    if moment == "mid_stream":
        assert call.chunks == [0, 1, 2]
    if moment == "replying":
        assert set(call.chunks) <= {LARGE}
        assert len(call.chunks) == MANY if expected == FINE else len(call.chunks) < MANY
    if moment == "answering" and expected == FINE:
        assert call.value() == HUGE


def check_ahead(victim: str, call: Call) -> None:
    """The other client's call, which was running when one was killed that waited."""
    assert call.reason() == {"client": FINE, "server": LOST, "worker": DIED, "host": NO_HOST}[victim], call.outcome()


def check_writes(stage: Stage, key: str, moment: str, call: Call | None) -> None:
    """What was acknowledged is there, and what never ran has written nothing."""
    kept = stage.read(f"{key}_before", key, f"{key}_queued", f"{key}_queued_end")
    assert kept.pop(f"{key}_before") == "written by a client"
    worked = call is not None and not call.reason()
    began = {"starting": worked}.get(moment, True)
    assert (kept.pop(key, "") == "written") == began
    waited = moment == "queued" and worked
    assert kept == ({f"{key}_queued": "written", f"{key}_queued_end": "written"} if waited else {})


def check_leaks(stage: Stage, before: dict[int, Usage], files: set[str]) -> None:
    """Nobody holds more than before, and there are no more processes and files."""

    def more() -> list[str]:
        states, now = stage.states(), stage.usage()
        both = before.keys() & now.keys()
        held = [f"{pid}: {now[pid]}, not {before[pid]}" for pid in both if not now[pid].within(before[pid])]
        zombies = [f"{pid} is a zombie" for pid, state in states.items() if state == "Z"]
        extra = [f"{pid} is one too many" for pid in states if len(states) > len(before) and pid not in before]
        return held + zombies + extra

    try:
        until(lambda: not more(), "that nobody holds more than before")
    except TimeoutError as error:
        raise AssertionError(more()) from error
    assert stage.files() == files


def kill(stage: Stage, victim: str, scene: Scene) -> None:
    """Kills it; returns when it is gone with all that it has started."""
    pid = scene.worker if victim == "worker" else getattr(stage, victim).pid
    condemned = family([pid])
    if victim in ("server", "worker"):
        assert {scene.worker, scene.child or scene.worker} <= condemned.keys()
    connected = usage(stage.server.pid).files
    with watched(condemned) as all_of_it:
        os.kill(pid, signal.SIGKILL)
        assert all_of_it.left() == []
    if victim == "client":
        until(lambda: usage(stage.server.pid).files < connected, "the end of the client's connections")
        stage.other.order("list").value()  # the server has done by then what it was told before


def play(stage: Stage, victim: str, moment: str) -> None:
    """One scene, from before to after; what goes wrong in it does not spoil the next one."""
    try:
        play_through(stage, victim, moment)
    except BaseException:
        stage.close()
        stage.start()
        raise


def play_through(stage: Stage, victim: str, moment: str) -> None:
    before, files = stage.rest(), stage.files()
    key = f"{victim}_{moment}"
    stage.write(f"{key}_before", "written by a client")
    scene = MOMENTS[moment](stage, key)
    call = None if victim == "client" else scene.call
    try:
        assert not scene.call.is_over
        assert stage.named_memory() == []
        kill(stage, victim, scene)
        if sign := SEEN.get((victim, moment)):
            stage.signs.come(f"{key} {sign}")
    finally:
        scene.go_on()
    if call is not None:
        check_told(victim, moment, call)
    if scene.ahead is not None:
        check_ahead(victim, scene.ahead)
    if victim != "worker":
        stage.restart(victim)
    stage.check()
    if victim == "client" and moment != "starting":
        assert scene.worker in stage.states(), "a worker whose tool obeys is kept"
    check_writes(stage, key, moment, call)
    check_leaks(stage, before, files)


@pytest.mark.parametrize("stage", [adapters], ids=["adapters"], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_loses_only_what_it_has_to(stage: Stage, victim: str, moment: str) -> None:
    play(stage, victim, moment)


@pytest.mark.parametrize("stage", [plugins], ids=["plugins"], indirect=True)
@pytest.mark.parametrize("moment", ["starting", "running", "mid_stream", "mid_callback", "replying"])
@pytest.mark.parametrize("victim", ["client", "server", "worker"])
def test_a_kill_loses_no_more_with_plugins(stage: Stage, victim: str, moment: str) -> None:
    play(stage, victim, moment)

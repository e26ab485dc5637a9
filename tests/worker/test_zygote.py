"""Workers are forked, told apart, killed and reaped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.runtime.zygote_messages import Born
from bridge.worker.nursery import Exit, Newborn, Nursery
from bridge.worker.spawner import spawn
from tests.worker.conftest import SAMPLE, StartNursery, StartWorker, recipe
from tests.worker.pids import children, oom_score_adj, open_files, parent_of, watched


async def end_of(newborn: Newborn) -> Exit:
    """How a worker ends."""
    async with asyncio.timeout(5):
        return await asyncio.shield(newborn.exited)


async def test_worker_has_the_adapters_and_the_surroundings_of_its_server(
    nursery: Nursery, start_worker: StartWorker
) -> None:
    newborn, talk = await start_worker(nursery)
    facts = await talk.ask("facts")
    assert talk.prepared == [SAMPLE]
    assert facts["pid"] == facts["group"] == newborn.pid
    assert facts["parent"] == nursery.pid
    assert facts["path"] == sys.path
    assert facts["cwd"] == str(Path.cwd())
    assert facts["environ"].items() >= {"PATH": os.environ["PATH"]}.items()
    assert facts["threads"] == 1
    assert facts["faulthandler"]
    assert facts["oom"] > oom_score_adj()


async def test_worker_answers_signals_as_a_program_does_and_leaves_ctrl_c_to_the_server(
    nursery: Nursery, start_worker: StartWorker
) -> None:
    _, talk = await start_worker(nursery)
    facts = await talk.ask("facts")
    assert (facts["sigterm"], facts["sigint"], facts["blocked"]) == (True, True, 0)


async def test_signals_that_are_blocked_where_it_is_started_reach_it(
    start_nursery: StartNursery, start_worker: StartWorker
) -> None:
    def mask(how: int) -> None:
        spawn(lambda: signal.pthread_sigmask(how, [signal.SIGTERM, signal.SIGCHLD])).result(timeout=5)

    mask(signal.SIG_BLOCK)
    try:
        nursery = await start_nursery()
    finally:
        mask(signal.SIG_UNBLOCK)
    newborn, talk = await start_worker(nursery)
    assert (await talk.ask("facts"))["blocked"] == 0
    talk.tell("exit", 0)
    assert await end_of(newborn) == Exit(code=0)


async def test_workers_never_import_grpc(nursery: Nursery, start_worker: StartWorker) -> None:
    _, talk = await start_worker(nursery)
    modules = (await talk.ask("facts"))["modules"]
    assert "bridge.tool" in modules
    assert "grpc" not in modules


async def test_environment_is_what_it_is_given(start_nursery: StartNursery, start_worker: StartWorker) -> None:
    nursery = await start_nursery(environ={"ONLY": "this"})
    _, talk = await start_worker(nursery)
    environ = (await talk.ask("facts"))["environ"]
    assert environ.pop("ONLY") == "this"
    assert environ.keys() <= {"LC_CTYPE"}  # CPython's own, for UTF-8


async def test_worker_has_nothing_open_but_its_own(nursery: Nursery, start_worker: StartWorker) -> None:
    """Another worker's socket would hide that worker's end; the zygote's would be a way to kill."""
    opened = [await start_worker(nursery) for _ in range(3)]
    seen = [(await talk.ask("facts"))["fds"] for _, talk in opened]
    for fds in seen:
        kinds = sorted(target.partition(":")[0] for target in fds.values())
        assert kinds == ["/dev/null", "pipe", "pipe", "pipe", "socket"]
    assert len({target for fds in seen for target in fds.values() if target.startswith("socket")}) == 3
    assert len({target for fds in seen for target in fds.values() if target.startswith("pipe")}) == 4, (
        "one tells of the zygote"
    )


async def test_workers_draw_different_random_numbers(start_nursery: StartNursery, start_worker: StartWorker) -> None:
    pytest.importorskip("numpy")
    nursery = await start_nursery(SAMPLE, "tests.worker.uses_numpy:UsesNumpy")
    draws = [tuple(await (await start_worker(nursery))[1].ask("draw")) for _ in range(3)]
    assert all(len(draw) == 2 for draw in draws)
    for numbers in zip(*draws, strict=True):
        assert len(set(numbers)) == 3


async def test_prints_of_python_and_of_c_go_to_the_workers_output(nursery: Nursery, start_worker: StartWorker) -> None:
    newborn, talk = await start_worker(nursery)
    await talk.ask("write", "hello")
    assert os.read(newborn.output, 4096) == b"hello\nhello\n"


@pytest.mark.parametrize(
    ("command", "exit_", "text"),
    [
        (("exit", 0), Exit(code=0), "exit code 0"),
        (("exit", 7), Exit(code=7), "exit code 7"),
        (("exit_at_once", 3), Exit(code=3), "exit code 3"),
        (("crash",), Exit(code=1), "exit code 1"),
        (("segfault",), Exit(signal=signal.SIGSEGV), "signal SIGSEGV (Segmentation fault)"),
    ],
)
async def test_worker_that_ends_says_how(
    nursery: Nursery, start_worker: StartWorker, command: tuple[object, ...], exit_: Exit, text: str
) -> None:
    newborn, talk = await start_worker(nursery)
    talk.tell(*command)
    assert await end_of(newborn) == exit_
    assert exit_.describe() == text
    with pytest.raises(EOFError):
        await talk.answer()


async def test_last_output_of_a_worker_tells_what_crashed_it(nursery: Nursery, start_worker: StartWorker) -> None:
    raising, talk = await start_worker(nursery)
    talk.tell("crash")
    crashing, other_talk = await start_worker(nursery)
    other_talk.tell("segfault")
    await end_of(raising)
    await end_of(crashing)
    assert b"LookupError: crashed on purpose" in os.read(raising.output, 65536)
    printed = os.read(crashing.output, 65536)
    assert b"Segmentation fault" in printed
    assert b"in string_at" in printed


async def test_signal_reaches_the_worker_and_all_it_has_started(nursery: Nursery, start_worker: StartWorker) -> None:
    newborn, talk = await start_worker(nursery)
    child = await talk.ask("spawn")
    with watched([newborn.pid, child]) as processes:
        nursery.kill(newborn.pid, signal.SIGKILL)
        assert await end_of(newborn) == Exit(signal=signal.SIGKILL)
        assert processes.left() == []


async def test_what_a_worker_leaves_behind_in_its_group_is_killed(nursery: Nursery, start_worker: StartWorker) -> None:
    newborn, talk = await start_worker(nursery)
    child = await talk.ask("spawn")
    with watched([child]) as processes:
        talk.tell("exit_at_once", 0)
        assert await end_of(newborn) == Exit(code=0)
        assert processes.left() == []


async def test_kill_is_for_one_worker_and_without_meaning_once_it_was_reaped(
    nursery: Nursery, start_worker: StartWorker
) -> None:
    newborn, _ = await start_worker(nursery)
    _, other = await start_worker(nursery)
    nursery.kill(newborn.pid, signal.SIGTERM)
    assert await end_of(newborn) == Exit(signal=signal.SIGTERM)
    nursery.kill(newborn.pid, signal.SIGKILL)
    nursery.kill(1, signal.SIGKILL)
    assert (await other.ask("facts"))["parent"] == nursery.pid


async def test_what_has_left_the_group_is_adopted_and_ends_with_the_zygote(
    nursery: Nursery, start_worker: StartWorker
) -> None:
    newborn, talk = await start_worker(nursery)
    child = await talk.ask("spawn", True)
    with watched([child]) as processes:
        talk.tell("exit", 0)
        await end_of(newborn)
        assert parent_of(child) == nursery.pid
        assert processes.left(0) == [child]
        await nursery.aclose()
        assert processes.left() == []


async def test_fork_that_nobody_waits_for_any_more_leaves_no_worker(start_nursery: StartNursery) -> None:
    nursery = await start_nursery(run="tests.worker.targets:stay")
    for turns in range(3):  # until the request is sent
        waiting = asyncio.ensure_future(nursery.fork())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await only_worker_is(nursery, await nursery.fork())


async def test_fork_that_is_cancelled_as_it_succeeds_leaves_no_worker(
    start_nursery: StartNursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    nursery = await start_nursery(run="tests.worker.targets:stay")
    answered = nursery._on_born
    waiting = asyncio.ensure_future(nursery.fork())

    def answered_and_cancelled(message: Born) -> None:
        answered(message)
        waiting.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(nursery, "_on_born", answered_and_cancelled)
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await only_worker_is(nursery, await nursery.fork())


async def only_worker_is(nursery: Nursery, newborn: Newborn) -> None:
    """All other workers are gone."""
    assert nursery.pid is not None
    with watched(set(children(nursery.pid)) - {newborn.pid}) as others:
        assert others.left() == []
    assert not newborn.exited.done()
    newborn.sock.close()
    os.close(newborn.output)


async def test_50_workers_leave_no_descriptor_zombie_or_thread(nursery: Nursery, start_worker: StartWorker) -> None:
    assert nursery.pid is not None
    kept, _ = await start_worker(nursery)

    def counts() -> tuple[int, int, list[int], int]:
        gc.collect()
        return open_files(), open_files(nursery.pid or 0), children(nursery.pid or 0), threading.active_count()

    before = counts()
    for number in range(50):
        newborn = await nursery.fork()
        if number % 2:
            newborn.sock.close()
        else:
            nursery.kill(newborn.pid, signal.SIGKILL)
        await end_of(newborn)
        newborn.sock.close()
        os.close(newborn.output)
    after = counts()
    assert after[1:3] == before[1:3]
    assert after[0] <= before[0]
    assert after[3] <= before[3]
    assert before[2] == [kept.pid]


async def test_many_forks_at_once_all_come_to_life(nursery: Nursery) -> None:
    async with asyncio.timeout(10):
        newborns = await asyncio.gather(*(nursery.fork() for _ in range(20)))
    assert len({newborn.pid for newborn in newborns}) == 20
    for newborn in newborns:
        newborn.sock.close()
        os.close(newborn.output)
        await end_of(newborn)


async def test_close_ends_workers_that_do_not_listen(start_nursery: StartNursery, start_worker: StartWorker) -> None:
    nursery = await start_nursery()
    deaf, talk = await start_worker(nursery)
    child = await talk.ask("spawn")
    await talk.ask("ignore", int(signal.SIGTERM))
    obedient, _ = await start_worker(nursery)
    with watched([deaf.pid, obedient.pid, child, nursery.pid or 0]) as processes:
        async with asyncio.timeout(10):
            await nursery.aclose(grace=0.05)
        assert processes.left(0) == []
    assert (await end_of(deaf)).signal == signal.SIGKILL
    assert (await end_of(obedient)).signal == signal.SIGTERM
    await nursery.aclose()


async def test_fork_is_refused_when_the_zygote_is_gone(start_nursery: StartNursery) -> None:
    with pytest.raises(BridgeError, match="is not running"):
        await Nursery(recipe()).fork()
    nursery = await start_nursery()
    await nursery.aclose()
    with pytest.raises(BridgeError) as caught:
        await nursery.fork()
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "ZYGOTE_GONE")

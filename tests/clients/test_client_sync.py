"""The blocking client over a real server."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.call import Progress
from bridge.errors import BridgeError, Code
from bridge.testing import connect_sync
from bridge_client.loop_thread import LoopThread
from bridge_client.sync import BridgeClient
from tests.support import probes
from tests.support.probes import Inline, Journal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(journal: Journal) -> Iterator[BridgeClient]:
    with connect_sync(Inline) as client:
        yield client
        probes.journal.release.set()


def test_calls_streams_sessions_and_lists_are_those_of_the_async_client(client: BridgeClient) -> None:
    client.wait_ready(5)
    assert client.call("add", a=1) == 2
    assert client.call("echo", {"value": b"bytes"}, timeout=5) == b"bytes"
    assert list(client.stream("count", n=3)) == [0, 1, 2]
    assert "add" in [info.name for info in client.tools()]
    assert client.server_info().name == "tool-bridge"
    with client.session(ttl=60) as session:
        assert session.info.ttl == 60
        assert session.set("x", 1) == 1
        assert session.set_many({"x": 2, "y": "b"}) == {"x": 2, "y": 1}
        assert (session.get("x"), session.get("none", 7)) == (2, 7)
        assert session.get_many(["x", "y"]) == {"x": 2, "y": "b"}
        assert session.get_variable("x").version == 2
        assert session.register("z", "boolean", True).type == "boolean"
        session.delete("z")
        assert [variable.name for variable in session.list()] == ["x", "y"]
        assert session.call("read", name="x") == 2
        assert client.call("read", session=session, name="x") == 2
        assert list(session.stream("count", n=2)) == [0, 1]
        session["m"] = [1]
        assert ("m" in session, "n" in session, session["m"]) == (True, False, [1])
        assert session.update("m", lambda items: [*items, 2]) == [1, 2]
        assert session.update("n", lambda count: count + 1, default=0) == 1
        assert [update.kind.name for update in session.history("m", limit=1)] == ["CHANGED"]
        assert session.rollback("m", 1).value == [1]
        del session["m"]
        with pytest.raises(BridgeError) as caught:
            session["m"]
        assert caught.value.reason == "VARIABLE_NOT_FOUND"
        session.set("m", [1], metadata={"a": "b"}, ttl=60)
        assert session.get_variable("m").metadata == {"a": "b"}
        assert [info.session_id for info in client.list_sessions(limit=5)] == [session.session_id]
        with client.session(session_id=session.session_id) as attached, attached.watch("x") as watch:
            session["x"] = 3
            assert [update.variable.value for update in (next(watch),) if update.variable] == [3]
        assert session.get("x") == 3


def test_errors_are_the_same(client: BridgeClient) -> None:
    with pytest.raises(BridgeError) as caught:
        client.call("fail", kind="tool")
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NO_PLANET")
    with pytest.raises(BridgeError) as caught:
        client.call("hang", timeout=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    with pytest.raises(TypeError):
        client.call("add", {"a": 1}, a=2)


def test_progress_is_told_in_the_thread_that_iterates(client: BridgeClient) -> None:
    told: list[tuple[Progress, int]] = []
    stream = client.stream("progress", on_progress=lambda note: told.append((note, threading.get_ident())))
    assert list(stream) == ["value"]
    assert stream.progress == Progress(1.0, "whole")
    assert {thread for _, thread in told} == {threading.get_ident()}
    chunks = list(client.stream("progress").chunks())
    assert [chunk.value for chunk in chunks if chunk.value] == ["value"]


def test_leaving_a_stream_early_cancels_it(client: BridgeClient) -> None:
    with client.stream("endless") as stream:
        assert next(stream) == 0
    wait_for("closed")


def test_several_threads_share_one_client(client: BridgeClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(lambda n: client.call("add", a=n, b=0), range(100))) == list(range(100))


def test_closing_ends_the_calls_of_other_threads(client: BridgeClient) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.call, "hang")
        wait_for("started")
        client.close()
        error = call.exception(5)
    assert isinstance(error, BridgeError)
    assert error.code in (Code.CANCELLED, Code.FAILED_PRECONDITION)


def wait_for(event: str) -> None:
    journal = probes.journal
    with journal._lock:
        assert journal._lock.wait_for(lambda: journal.counts.get(event, 0) >= 1, 5)


def test_ctrl_c_ends_the_wait_and_cancels_the_tool(client: BridgeClient) -> None:
    def press() -> None:
        wait_for("started")
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        client.call("hang")
    presser.join()
    wait_for("ended")
    assert client.call("add", a=1) == 2


def test_closed_client_says_so(client: BridgeClient) -> None:
    stream, session = client.stream("count", n=3), client.session()
    client.close()
    client.close()
    for use in (
        lambda: client.call("add", a=1),
        lambda: client.stream("count", n=1),
        lambda: next(stream),
        session.__enter__,
        client.tools,
    ):
        with pytest.raises(BridgeError) as caught:
            use()
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "CLIENT_CLOSED")
    stream.close()
    session.close()
    assert repr(client).startswith("<sync.BridgeClient")
    assert repr(client).endswith(" closed>")


def test_a_function_given_to_update_runs_in_the_thread_that_asked(client: BridgeClient) -> None:
    threads: list[int] = []

    def note(value: int) -> int:
        threads.append(threading.get_ident())
        return value

    def interrupt(value: int) -> int:
        raise KeyboardInterrupt

    with client.session() as session:
        session.update("n", note, default=0)
        assert threads == [threading.get_ident()]
        with pytest.raises(KeyboardInterrupt):
            session.update("n", interrupt)
        assert session.set("n", 1) == 2, "the next write has its turn"


def test_closing_the_client_ends_the_watch_of_another_thread(client: BridgeClient) -> None:
    with client.session() as session, ThreadPoolExecutor(1) as threads:
        watch = session.watch("x").__enter__()
        watching = threads.submit(next, watch)
        client.close()
        assert isinstance(watching.exception(5), BridgeError | StopIteration)
        watch.close()


def test_forgotten_client_ends_its_thread(client: BridgeClient) -> None:
    other = BridgeClient(client.target)
    assert other.call("add", a=1) == 2
    thread, gone = other._thread._thread, weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    assert not thread.is_alive()


def test_bad_target_is_refused_without_leaving_a_thread() -> None:
    before = threading.active_count()
    for target in ("nowhere", "unix:"):
        with pytest.raises(BridgeError) as caught:
            BridgeClient(target)
        assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "BAD_TARGET")
    assert threading.active_count() == before


def test_context_of_the_caller_goes_along() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")

    async def read() -> str:
        return variable.get()

    async def nothing() -> None:
        return

    thread = LoopThread("test")
    variable.set("mine")
    assert thread.run(read()) == "mine"
    thread.stop(nothing)


def test_blocking_call_inside_a_callback_is_refused_instead_of_waiting_for_itself() -> None:
    thread = LoopThread("test")
    refused: list[BridgeError] = []

    async def nothing() -> None:
        return

    async def callback() -> None:
        try:
            thread.run(nothing())
        except BridgeError as error:
            refused.append(error)

    thread.run(callback())
    thread.stop(nothing)
    assert refused[0].reason == "WOULD_BLOCK"


def run_program(program: str, address: str) -> str:
    path = f"{ROOT}:{ROOT / 'clients' / 'python'}"
    # gRPC's core notes on stderr that it does not follow a fork, which is what the test is about.
    env = {**os.environ, "PYTHONPATH": path, "ADDRESS": address, "GRPC_VERBOSITY": "NONE"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=env, timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_program_that_forgets_to_close_ends_by_itself(client: BridgeClient) -> None:
    program = """
import os
from bridge_client.sync import BridgeClient
client = BridgeClient(os.environ["ADDRESS"])
session = client.session().__enter__()
stream = client.stream("endless")
print(client.call("add", a=1), next(stream), session.session_id)
"""
    first, second, session_id = run_program(program, client.target).split()
    assert (first, second) == ("2", "0")
    with pytest.raises(BridgeError) as caught:
        client.call("read", session=session_id, name="x")
    assert caught.value.reason == "SESSION_NOT_FOUND", "leaving the interpreter closed the session"


def test_client_in_a_forked_child_is_refused_and_its_parent_goes_on(client: BridgeClient) -> None:
    program = """
import os, warnings
from bridge_client.sync import BridgeClient
warnings.simplefilter("ignore")
client = BridgeClient(os.environ["ADDRESS"])
client.call("add", a=1)
child = os.fork()
if child == 0:
    try:
        client.call("add", a=1)
    except Exception as error:
        client.close()
        os._exit(7 if error.reason == "FORKED" else 8)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), client.call("add", a=1))
"""
    assert run_program(program, client.target).split() == ["7", "2"]

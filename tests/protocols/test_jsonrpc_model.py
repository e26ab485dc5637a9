"""Two peers beside a model of what runs: every answer belongs to its request, and the counts are right."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bridge.errors import BridgeError, Code
from bridge.protocols.jsonrpc import Peer
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.messages import Cancel, Event, Id, Invalid, Request, Response, Unmatched, plain
from tests.protocols.wire import call

LIMITS = ProtocolLimits(max_in_flight=4, max_batch=6)
IDS = st.sampled_from([1, 2, "1", "a"]) | st.integers(3, 9)
ENDS = st.sampled_from(["answer", "fail", "drop"])


class Together:
    """A batch: the ids whose answers its array will have, and those that run."""

    def __init__(self) -> None:
        self.answered: list[Id | None] = []
        self.left: set[Id] = set()


class Model(RuleBasedStateMachine):
    """The server hears requests of our own making, single or in batches, and those of a client that keeps count."""

    def __init__(self) -> None:
        super().__init__()
        self.client, self.server = Peer(), Peer(LIMITS)
        self.running: dict[Id, Together | None] = {}
        self.asked: set[int] = set()

    def begin(self, ids: list[Id], batch: Together | None) -> list[Id | None]:
        """Which of these requests are refused, and under which id."""
        refused: list[Id | None] = []
        for id in ids:
            if id in self.running:
                refused.append(None)
            elif len(self.running) >= LIMITS.max_in_flight:
                refused.append(id)
            else:
                self.running[id] = batch
                if batch is not None:
                    batch.left.add(id)
        return refused

    @rule(id=IDS)
    def one_request_comes(self, id: Id) -> None:
        refused = self.begin([id], None)
        (event,) = self.server.receive(json.dumps(call(id)).encode())
        if refused:
            assert isinstance(event, Invalid)
            assert json.loads(event.answer or b"")["id"] == refused[0]
        else:
            assert event == Request(id, "echo", None)

    @rule(ids=st.lists(IDS, min_size=1, max_size=6))
    def a_batch_comes(self, ids: list[Id]) -> None:
        batch = Together()
        batch.answered = self.begin(ids, batch)
        events = self.server.receive(json.dumps([call(id) for id in ids]).encode())
        assert {event.id for event in events if isinstance(event, Request)} == batch.left
        answers = [event.answer for event in events if isinstance(event, Invalid)]
        assert answers[:-1] == [None] * len(answers[:-1])
        if not batch.left:
            assert [each["id"] for each in json.loads(answers[-1] or b"")] == batch.answered
        elif answers:
            assert answers[-1] is None

    @rule(id=IDS, end=ENDS)
    def a_request_ends(self, id: Id, end: str) -> None:
        sent = {
            "answer": lambda: self.server.answer(id, {"of": id}),
            "fail": lambda: self.server.fail(id, BridgeError(Code.UNKNOWN, "no")),
            "drop": lambda: self.server.drop(id),
        }[end]()
        if id not in self.running:
            assert sent is None
            return
        batch = self.running.pop(id)
        if batch is None:
            assert (sent is None) == (end == "drop")
            assert sent is None or json.loads(sent)["id"] == id
            return
        if end != "drop":
            batch.answered.append(id)
        batch.left.remove(id)
        if batch.left or not batch.answered:
            assert sent is None
        else:
            assert [each["id"] for each in json.loads(sent or b"")] == batch.answered

    @rule(id=IDS)
    def a_cancel_comes(self, id: Id) -> None:
        text = json.dumps({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}}).encode()
        assert self.server.receive(text) == ([Cancel(id)] if id in self.running else [])

    @rule()
    def the_client_asks(self) -> None:
        id, _ = self.client.request("m")
        assert id not in self.asked
        self.asked.add(id)

    @rule(id=st.integers(0, 12), error=st.booleans())
    def an_answer_comes(self, id: int, error: bool) -> None:
        outcome = {"error": {"code": 1, "message": str(id)}} if error else {"result": id}
        (event,) = self.client.receive(json.dumps({"jsonrpc": "2.0", "id": id, **outcome}).encode())
        self.check_answer(event, id, error)

    def check_answer(self, event: Event, id: int, error: bool) -> None:
        """An answer is somebody's if, and only if, it is waited for."""
        assert isinstance(event, Response if id in self.asked else Unmatched)
        assert isinstance(event, Response | Unmatched)
        self.asked.discard(id)
        assert event.id == id
        assert (event.error is not None) == error
        if isinstance(event, Response) and event.result is not None:
            assert plain(event.result) == id

    @rule(id=st.integers(0, 12))
    def the_client_cancels(self, id: int) -> None:
        self.client.cancel(id)
        self.asked.discard(id)

    @invariant()
    def the_counts_are_right(self) -> None:
        assert self.server.in_flight == len(self.running)
        assert self.client.waiting == len(self.asked)


def test_J16_every_answer_belongs_to_its_request_whatever_comes_in_which_order() -> None:
    wanted = settings(
        max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None, print_blob=False
    )
    run_state_machine_as_test(Model, settings=wanted)

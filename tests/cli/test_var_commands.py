"""``bridge var`` against a real host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import Done, bridge

Var = Callable[..., Done]


@pytest.fixture
def var(call: Command) -> Iterator[Var]:
    """Runs a command of ``bridge var`` in a session of its own."""
    opened = call("session", "open").out.strip()
    yield lambda *arguments: call("var", *arguments, "--session", opened)
    call("session", "close", opened)


def test_values_are_json_if_they_can_be(var: Var) -> None:
    assert var("set", "a=1", "b=0.5", "c=true", "d=to be", 'e={"f": [null]}', 'g:="5"').code == 0
    done = var("get", "a", "b", "c", "d", "e", "g", "--json-output")
    assert done.document == {"a": 1, "b": 0.5, "c": True, "d": "to be", "e": {"f": [None]}, "g": "5"}


def test_one_value_is_shown_as_a_call_shows_it(var: Var) -> None:
    var("set", "text", "to be")
    var("set", "data", '{"$bytes": "aGk="}')
    assert var("get", "text").out == "to be\n"
    assert var("get", "text", "--json-output").document == "to be"
    assert var("get", "data", "--json-output").document == {"$bytes": "aGk="}


def test_text_stays_text_where_the_variable_holds_text(var: Var) -> None:
    var("set", "text=a", 'data={"$bytes": "aGk="}', "number=1")
    assert var("set", "text=5", "data=5", "number=5").code == 0
    found = var("get", "text", "data", "number", "--json-output").document
    assert found == {"text": "5", "data": {"$bytes": "NQ=="}, "number": 5}


def test_name_may_have_a_colon(var: Var) -> None:
    assert var("set", "model:size=3", "model:kind:=[1]").out == "model:size: version 1\nmodel:kind: version 1\n"
    assert var("set", "model:size", "4").out == "model:size: version 2\n"


def test_file_and_stdin_are_values(call: Command, server: str, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    opened = call("session", "open").out.strip()
    numpy.save(tmp_path / "a.npy", numpy.arange(3))
    arguments = ("--session", opened, "--target", server)
    assert bridge("var", "set", "a=@a.npy", "--json", "-", *arguments, cwd=tmp_path, stdin='{"b": 2}').code == 0
    assert bridge("var", "get", "a", *arguments, cwd=tmp_path).out == "<int64 array of shape 3>\n[0 1 2]\n"
    assert call("var", "get", "b", "--session", opened).out == "2\n"


def test_write_happens_only_at_the_expected_version(var: Var) -> None:
    assert var("set", "x", "1", "--expect", "0").out == "x: version 1\n"
    assert var("set", "x", "2", "--expect", "1", "--json-output").document == {"versions": {"x": 2}, "failures": {}}
    late = var("set", "x", "3", "--expect", "1")
    assert late.code == ExitCode.FAILED
    assert "VERSION_MISMATCH" in late.err
    assert "current_version: 2" in late.err
    assert "bridge var ls" in late.err
    assert var("set", "x=3", "y=1", "--expect", "x=2", "--expect", "y=0").code == 0


def test_batch_is_all_or_nothing_unless_told_otherwise(var: Var) -> None:
    var("set", "x", "1")
    done = var("set", "x=2", "y=2", "--expect", "x=7")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert var("get", "y").code == ExitCode.FAILED
    done = var("set", "x=2", "y=2", "--expect", "x=7", "--no-atomic")
    assert (done.code, done.out) == (ExitCode.FAILED, "y: version 1\n")
    assert done.err.startswith("bridge: x is as it was: ABORTED: ")
    results = var("set", "x=2", "y=3", "--expect", "x=7", "--no-atomic", "--json-output").document
    assert results["versions"] == {"y": 2}
    assert results["failures"]["x"]["reason"] == "VERSION_MISMATCH"


def test_registered_variable_obeys_its_constraints(var: Var) -> None:
    done = var("register", "t", "1", "--type", "float", "--min", "0", "--max", "2.5", "--metadata", "unit=K")
    assert done.out == "t: version 1, float, min 0, max 2.5\n"
    refused = var("set", "t", "3")
    assert refused.code == ExitCode.FAILED
    assert "max 2.5" in refused.err
    assert "bridge var ls" in refused.err
    [document] = var("ls", "t", "--json-output").document
    assert document["constraints"] == {"min": 0, "max": 2.5}
    assert (document["type"], document["value"], document["metadata"]) == ("float", 1.0, {"unit": "K"})


@pytest.mark.parametrize(
    ("arguments", "type_", "constraints"),
    [
        (("x", "5"), "integer", {}),
        (("x", "5", "--type", "string", "--min-length", "1", "--max-length", "3"), "string", None),
        (("x=b", "--type", "choice", "--choice", "a", "--choice", "b"), "choice", {"choices": ["a", "b"]}),
        (("x", "[1, 2]", "--type", "embedding", "--dimensions", "2"), "embedding", {"dimensions": 2}),
        (("x", "[1, 2]", "--ttl", "60"), "json", {}),
    ],
)
def test_declaration_has_the_type_and_constraints_that_are_written(
    var: Var, arguments: tuple[str, ...], type_: str, constraints: dict[str, object] | None
) -> None:
    document = var("register", *arguments, "--json-output").document
    assert document["type"] == type_
    assert document["constraints"] == ({"min_length": 1, "max_length": 3} if constraints is None else constraints)
    assert (document["expires_at"] is not None) == ("--ttl" in arguments)


def test_pattern_and_shape_are_constraints(var: Var) -> None:
    pytest.importorskip("re2")
    pytest.importorskip("numpy")
    assert var("register", "name", "ada", "--pattern", "[a-z]+").code == 0
    assert "pattern [a-z]+" in var("set", "name", "Ada").err
    array = '{"$array": {"dtype": "int64", "shape": [1, 2], "values": [[1, 2]]}}'
    assert var("register", "m", array, "--shape", "1,-1").out == "m: version 1, tensor, shape 1,-1\n"


def test_variables_are_listed_by_pattern(var: Var) -> None:
    assert "no variables" in var("ls").out
    var("set", "model.size=3", "model.name=big", "other=1", "--ttl", "60")
    assert [one["name"] for one in var("ls", "model.*", "--json-output").document] == ["model.name", "model.size"]
    table = var("ls").out
    assert '"big"' in table
    assert table.index("model.name") < table.index("model.size") < table.index("other")
    assert "no variable of such a name" in var("ls", "x*").out


def test_history_shows_every_change_newest_first(var: Var) -> None:
    var("set", "x", "1")
    var("register", "x", "2", "--max", "5")
    var("rm", "x")
    var("set", "x", "back")
    found = var("history", "x", "--json-output").document
    assert [(one["version"], one["kind"], one["value"]) for one in found] == [
        (4, "changed", "back"),
        (3, "deleted", None),
        (2, "registered", 2),
        (1, "changed", 1),
    ]
    table = var("history", "x", "--limit", "3").out
    assert "deleted" in table
    assert "(registered: integer, max 5)" in table
    assert len(var("history", "x", "--limit", "1", "--json-output").document) == 1


def test_rollback_writes_an_earlier_value_again(var: Var) -> None:
    var("set", "x", "first")
    var("set", "x", "second")
    assert var("rollback", "x", "1", "--expect", "2").out == "x: version 3, with the value of version 1\n"
    assert var("get", "x").out == "first\n"
    gone = var("rollback", "x", "9")
    assert gone.code == ExitCode.FAILED
    assert "bridge var history" in gone.err
    assert var("rollback", "x", "2", "--json-output").document["version"] == 4


def test_deleted_variable_is_gone(var: Var) -> None:
    var("set", "x", "1")
    assert var("rm", "x", "--expect", "7").code == ExitCode.FAILED
    assert var("rm", "x", "--json-output").document == {"deleted": "x"}
    assert "VARIABLE_NOT_FOUND" in var("get", "x").err


FAILURES = [
    (("get", "absent"), ExitCode.FAILED, "bridge var ls"),
    (("get", "a b"), ExitCode.FAILED, "name"),
    (("get",), ExitCode.USAGE, "NAME"),
    (("set",), ExitCode.USAGE, "NAME=VALUE"),
    (("set", "x"), ExitCode.USAGE, "which value?"),
    (("set", "x", "1", "y"), ExitCode.USAGE, "write name=value"),
    (("set", "x=1", "x=2"), ExitCode.USAGE, "given twice"),
    (("set", "x:={"), ExitCode.USAGE, "JSON"),
    (("set", "--json", "[1]"), ExitCode.USAGE, "--json"),
    (("set", "x", "1", "--expect", "soon"), ExitCode.USAGE, "--expect"),
    (("set", "x=1", "y=2", "--expect", "1"), ExitCode.USAGE, "NAME=VERSION"),
    (("set", "x=1", "--expect", "z=1"), ExitCode.USAGE, "'z'"),
    (("set", "x", "1", "--metadata", "m"), ExitCode.USAGE, "KEY=VALUE"),
    (("register", "x", "1", "--type", "module"), ExitCode.FAILED, "bridge var register --help"),
    (("register", "x", "1", "--min", "few"), ExitCode.USAGE, "--min"),
    (("register", "x", "1", "--min-length", "1"), ExitCode.FAILED, "constraints.min_length"),
    (("register", "x=1", "y=2"), ExitCode.USAGE, "one variable"),
    (("register", "x", "1", "--shape", "1x2"), ExitCode.USAGE, "--shape"),
    (("history", "absent"), ExitCode.FAILED, "absent"),
    (("rollback", "absent", "1"), ExitCode.FAILED, "absent"),
    (("rollback", "x", "one"), ExitCode.USAGE, "VERSION"),
    (("watch",), ExitCode.USAGE, "NAME"),
    (("watch", "x", "--resume", "x"), ExitCode.USAGE, "NAME=VERSION"),
    (("watch", "x", "--resume", "y=1"), ExitCode.USAGE, "'y'"),
    (("watch", "x", "--count", "0"), ExitCode.USAGE, "--count"),
    (("watch", "a b"), ExitCode.FAILED, "name"),
]
NAMES = [" ".join(one[0]) for one in FAILURES]


@pytest.mark.parametrize(("arguments", "code", "text"), FAILURES, ids=NAMES)
def test_failure_says_what_next(var: Var, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    done = var(*arguments)
    assert (done.code, done.out) == (code, "")
    assert text in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("arguments", "code", "text"), FAILURES, ids=NAMES)
def test_failure_is_one_json_document(var: Var, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    done = var(*arguments, "--json-output")
    assert (done.code, done.err) == (code, "")
    assert set(json.loads(done.out)["error"]) == {"code", "message", "reason", "violations", "retry_after", "metadata"}


def test_command_without_a_session_says_how_to_name_one(call: Command) -> None:
    done = call("var", "get", "x")
    assert done.code == ExitCode.USAGE
    for text in ("--session ID", "BRIDGE_SESSION", "bridge session open", "bridge session ls"):
        assert text in done.err


def test_unknown_session_says_how_to_get_one(call: Command) -> None:
    done = call("var", "ls", "--session", "0" * 32)
    assert done.code == ExitCode.FAILED
    assert "bridge session open" in done.err


def test_value_cannot_control_the_terminal(var: Var) -> None:
    var("set", "x", "\x1b[31m\nred\x9b2J", "--metadata", "m=\x1b[2J")
    for written in (("ls",), ("history", "x"), ("watch", "x", "--count", "1")):
        shown = var(*written).out
        assert "\\u001b[31m\\nred" in shown
        assert "\x1b" not in shown
        assert "\x9b" not in shown

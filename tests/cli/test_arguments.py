"""``name=value`` on the command line becomes the value that a tool gets."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.cli.arguments import Assignment, json_arguments, kinds_of, parse_assignment, resolve
from bridge.errors import BridgeError

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
BYTES = msgspec.json.schema(bytes)
ANYTHING: dict[str, Any] = {}


def value(written: str, schema: dict[str, Any]) -> Any:
    """What the argument ``x`` becomes."""
    return resolve([parse_assignment(f"x{written}")], {}, {"x": schema})["x"]


@pytest.mark.parametrize(
    ("written", "schema", "expected"),
    [
        ("=5", TEXT, "5"),
        ("=null", TEXT, "null"),
        ("=", TEXT, ""),
        ('="quoted"', TEXT, '"quoted"'),
        ("=a=b", TEXT, "a=b"),
        ("=5", WHOLE, 5),
        ("=five", WHOLE, "five"),
        ("=5", ANYTHING, 5),
        ("=1.10", ANYTHING, 1.1),
        ("=true", ANYTHING, True),
        ("=to be", ANYTHING, "to be"),
        ("=[1, 2]", ANYTHING, [1, 2]),
        ("=123456789012345678901234567890", ANYTHING, 123456789012345678901234567890),
        ("=0.12345678901234567890", ANYTHING, Decimal("0.12345678901234567890")),
        ("=1e400", ANYTHING, Decimal("1e400")),
        ("=5", msgspec.json.schema(str | None), "5"),
        ("=null", msgspec.json.schema(str | None), None),
        ("=5", msgspec.json.schema(str | int), 5),
        ("=5.5", msgspec.json.schema(str | int), "5.5"),
        ("=5", {"enum": ["5", "6"]}, "5"),
        ("=5", {"$ref": "#/$defs/E", "$defs": {"E": {"enum": ["5"]}}}, "5"),
        ("=hé", BYTES, "hé".encode()),
        (':={"a": [1, {"$bytes": "aGk="}]}', ANYTHING, {"a": [1, b"hi"]}),
        (':="5"', WHOLE, "5"),
    ],
)
def test_value_fits_what_the_parameter_takes(written: str, schema: dict[str, Any], expected: Any) -> None:
    found = value(written, schema)
    assert found == expected
    assert type(found) is type(expected)


def test_file_is_text_or_bytes_or_an_array(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    text, array = tmp_path / "text", tmp_path / "array.npy"
    text.write_text("häuser", "utf-8")
    numpy.save(array, numpy.arange(3))
    assert value(f"=@{text}", TEXT) == "häuser"
    assert value(f"=@{text}", BYTES) == "häuser".encode()
    assert value(f"=@{array}", {"title": "Tensor"}).tolist() == [0, 1, 2]
    assert value(f"=@{array}", BYTES)[1:6] == b"NUMPY"


@pytest.mark.parametrize(
    ("written", "schema", "text"),
    [
        ("=@absent", TEXT, r"cannot read 'absent'.*x:=\"@"),
        ("=@latin", TEXT, "not UTF-8"),
        ("=@latin", ANYTHING, "bridge var register x=@latin --type bytes"),
        ("=@latin.npy", ANYTHING, "no .npy file"),
        (":=to be", TEXT, "not followed by JSON"),
        (':={"$bytes": 5}', ANYTHING, r"\$bytes"),
    ],
)
def test_unusable_value_is_wrong_usage(
    written: str, schema: dict[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("latin", "latin.npy"):
        Path(name).write_bytes(b"\xe4")
    with pytest.raises(BridgeError, match=text) as caught:
        value(written, schema)
    assert caught.value.reason == "USAGE"


@pytest.mark.parametrize("written", ["text", "=value", "", "@file"])
def test_argument_without_a_name_is_wrong_usage(written: str) -> None:
    with pytest.raises(BridgeError, match="write name=value"):
        parse_assignment(written)


def test_argument_given_twice_is_wrong_usage() -> None:
    with pytest.raises(BridgeError, match="given twice"):
        resolve([Assignment("x", "1")], {"x": 2}, {})


@pytest.mark.parametrize("document", ["[1]", "{", "5", '{"$map": [[1, 2]]}', "[" * 100_000], ids=lambda text: text[:9])
def test_json_arguments_must_be_an_object(document: str) -> None:
    with pytest.raises(BridgeError, match="--json"):
        json_arguments(document)


def test_schema_that_refers_to_itself_says_nothing() -> None:
    loop = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert kinds_of(loop) == frozenset()

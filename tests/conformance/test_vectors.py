"""The golden vectors say what this codec does, in both directions."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.codec import decode, pack
from bridge.codec.api import BUILT_IN
from bridge.errors import BridgeError
from tests.conformance.descriptions import build, describe

HERE = Path(__file__).parent
FILES = sorted((HERE / "vectors").glob("*.json"))
REFERENCE = HERE.parents[1] / "docs" / "values.md"

Case = dict[str, Any]
CASES = {
    f"{file.stem}: {case['name']}": case for file in FILES for case in json.loads(file.read_text("utf-8"))["cases"]
}
VALUES = {name: case for name, case in CASES.items() if "value" in case}
BOTH = {name: case for name, case in VALUES.items() if case["direction"] == "both"}
ERRORS = {name: case for name, case in CASES.items() if "error" in case}


def cases(selected: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", selected.values(), ids=selected.keys())


def message(case: Case) -> AnyMessage:
    return AnyMessage(type_url=case["any"]["type_url"], value=base64.b64decode(case["any"]["value_base64"]))


def unordered(description: Any) -> Any:
    """The description with the entries of maps sorted: the order of keys is not part of the contract."""
    if isinstance(description, list):
        return [unordered(item) for item in description]
    if not isinstance(description, dict):
        return description
    plain = {key: unordered(item) for key, item in description.items()}
    if plain.get("kind") == "map":
        plain["entries"].sort(key=lambda entry: json.dumps(entry["key"]))
    return plain


@cases(VALUES)
def test_the_bytes_decode_to_the_value(case: Case) -> None:
    assert unordered(describe(decode(message(case)))) == unordered(case["value"])


@cases(BOTH)
def test_the_value_encodes_to_the_bytes(case: Case) -> None:
    assert pack(build(case["value"])) == message(case)


@cases(ERRORS)
def test_the_bytes_are_refused_with_code_reason_and_field(case: Case) -> None:
    with pytest.raises(BridgeError) as caught:
        decode(message(case))
    error = caught.value
    assert (error.code.name, error.reason) == (case["error"], case["reason"])
    assert [violation.field for violation in error.violations] == [case["field"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_vectors_has_the_form_the_readme_describes(file: Path) -> None:
    content = json.loads(file.read_text("utf-8"))
    assert content.keys() == {"format", "about", "cases"}
    assert content["format"] == 1
    names = [case["name"] for case in content["cases"]]
    assert len(set(names)) == len(names)
    for case in content["cases"]:
        assert case["any"].keys() == {"type_url", "value_base64"}
        expected = {"value", "direction"} if "value" in case else {"error", "reason", "field"}
        assert case.keys() == {"name", "any"} | expected
        assert case.get("direction", "decode") in {"both", "decode"}


def test_every_type_of_the_codec_has_a_vector_and_a_place_in_the_reference() -> None:
    names = {url.rpartition("/")[2] for url in BUILT_IN}
    assert names <= {case["any"]["type_url"].rpartition("/")[2] for case in VALUES.values()}
    reference = REFERENCE.read_text("utf-8")
    assert [name for name in sorted(names) if name.rpartition(".")[2] not in reference] == []


def test_every_kind_of_the_readme_has_a_vector() -> None:
    readme = (HERE / "README.md").read_text("utf-8")

    def kinds(description: Any) -> set[str]:
        if isinstance(description, list):
            return set().union(*map(kinds, description))
        if not isinstance(description, dict):
            return set()
        own = {description["kind"]} if "kind" in description else set()
        return own.union(*map(kinds, description.values()))

    used = set().union(*(kinds(case["value"]) for case in VALUES.values()))
    documented = {line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")}
    assert used == documented

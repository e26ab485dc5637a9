"""What a manifest may say, what is refused, and that every refusal names the file and the field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.manifest import Manifest, SecretFile, load_manifest, parse_manifest
from bridge.manifest_format import ManifestFields, json_schema, markdown

DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"

SMALL: dict[str, Any] = {"name": "ocr", "adapter": "ocr.tools:Ocr"}
WHOLE = """
bridge_manifest = 1
name = "ocr"
version = "1.2"
description = "Reads text."
adapter = "tools.py:Ocr"
python = "/opt/ocr/venv"
isolation = "call"
working_directory = "work"
path = ["lib", "/opt/ocr/lib"]

[env]
allow = ["HF_HOME", "OCR_*"]
set = { MODE = "fast", TOKEN = { file = "token" } }

[limits]
workers = 2
queue_size = 0
start_timeout = 60
call_timeout = 5.5
memory = 4_294_967_296

[resources]
gpus = 0.5

[config]
language = "en"
sizes = [1, 2.5, true]
"""


def file(folder: Path, text: str, name: str = "plugin.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def refusal(path: Path) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        load_manifest(path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.reason == "MANIFEST"
    assert str(path) in caught.value.message
    return caught.value


def fields(error: BridgeError) -> dict[str, str]:
    return {violation.field: violation.description for violation in error.violations}


# What is read


def test_every_field_is_read(tmp_path: Path) -> None:
    manifest = load_manifest(file(tmp_path, WHOLE))
    assert (manifest.name, manifest.version, manifest.isolation) == ("ocr", "1.2", "call")
    assert manifest.env.allow == ["HF_HOME", "OCR_*"]
    assert manifest.env.set == {"MODE": "fast", "TOKEN": SecretFile("token")}
    assert (manifest.limits.workers, manifest.limits.queue_size, manifest.limits.start_timeout) == (2, 0, 60.0)
    assert (manifest.limits.call_timeout, manifest.limits.memory, manifest.limits.ttl) == (5.5, 4 * 1024**3, None)
    assert manifest.resources.gpus == 0.5
    assert manifest.config == {"language": "en", "sizes": [1, 2.5, True]}


def test_paths_begin_at_the_folder_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, WHOLE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    manifest = load_manifest("../plugin.toml")
    assert manifest.adapter_spec == f"{tmp_path}/tools.py:Ocr"
    assert manifest.search_path == [f"{tmp_path}/lib", "/opt/ocr/lib"]
    assert manifest.runs_in == f"{tmp_path}/work"


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    import tomllib

    as_json = load_manifest(file(tmp_path, json.dumps(tomllib.loads(WHOLE)), "plugin.json"))
    as_toml = load_manifest(file(tmp_path, WHOLE))
    assert msgspec.structs.replace(as_json, file="") == msgspec.structs.replace(as_toml, file="")


def test_a_name_and_an_adapter_are_enough(tmp_path: Path) -> None:
    manifest = parse_manifest(SMALL, tmp_path / "plugin.toml")
    assert manifest.adapter_spec == "ocr.tools:Ocr"
    assert (manifest.interpreter, manifest.search_path, manifest.runs_in) == ("", [], str(tmp_path))


def test_a_venv_stands_for_its_interpreter_whose_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/usr/bin/env")
    for python in (f"{tmp_path}/venv", f"{tmp_path}/venv/bin/python"):
        manifest = parse_manifest({**SMALL, "python": python}, tmp_path / "plugin.toml")
        assert manifest.interpreter == f"{tmp_path}/venv/bin/python"


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    manifest = parse_manifest({**SMALL, "python": "~/venv", "path": ["~/lib"]}, tmp_path / "plugin.toml")
    assert manifest.interpreter == "/home/ada/venv"
    assert manifest.search_path == ["/home/ada/lib"]


@pytest.mark.parametrize("adapter", ["tools.py:Ocr", "lib/tools.py:Ocr", "./tools.py:Ocr", "../x/tools.py:Ocr"])
def test_an_adapter_may_be_a_file(tmp_path: Path, adapter: str) -> None:
    manifest = parse_manifest({**SMALL, "adapter": adapter}, tmp_path / "plugin.toml")
    assert manifest.adapter_spec == f"{os.path.normpath(tmp_path / adapter)}"


# What is refused: W19


def test_w19_another_version_of_the_format_is_refused_before_its_fields(tmp_path: Path) -> None:
    error = refusal(file(tmp_path, 'bridge_manifest = 2\nplugin = "ocr"\n'))
    assert list(fields(error)) == ["bridge_manifest"]
    assert "version 1" in error.message


@pytest.mark.parametrize("version", ["true", '"1"', "1.0", "0"])
def test_a_version_is_the_number_and_nothing_like_it(tmp_path: Path, version: str) -> None:
    assert list(fields(refusal(file(tmp_path, f"bridge_manifest = {version}\n")))) == ["bridge_manifest"]


def test_w19_unknown_fields_are_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    text = 'name = "ocr"\nadapter = "a:B"\npyhton = "/x"\n[limits]\nworker = 2\n[env]\nsett = {}\n'
    found = fields(refusal(file(tmp_path, text)))
    assert "python" in found["pyhton"]
    assert "workers" in found["limits.worker"]
    assert "set" in found["env.sett"]


@pytest.mark.parametrize("name", ["folder", "file"])
def test_where_the_file_lies_is_not_for_it_to_say(tmp_path: Path, name: str) -> None:
    error = refusal(file(tmp_path, f'name = "ocr"\nadapter = "a:B"\n{name} = "/etc"\n'))
    assert list(fields(error)) == [name]


def test_every_mistake_is_said_at_once(tmp_path: Path) -> None:
    text = 'version = 2\nfoo = 1\n[limits]\nworkers = 0\nttl = "x"\n[env]\nallow = ["*"]\n[env.set]\nA = 1\n'
    found = fields(refusal(file(tmp_path, text)))
    assert set(found) == {
        "name",
        "adapter",
        "version",
        "foo",
        "limits.workers",
        "limits.ttl",
        "env.allow[0]",
        "env.set.A",
    }
    assert found["name"] == "is required"


@pytest.mark.parametrize("python", ["venv", "./venv/bin/python", "../python", "python3", "~nobody-has-this-name/venv"])
def test_w19_a_relative_interpreter_is_refused_with_the_reason(tmp_path: Path, python: str) -> None:
    error = refusal(file(tmp_path, f'name = "ocr"\nadapter = "a:B"\npython = "{python}"\n'))
    assert "relative" in fields(error)["python"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../ocr"),
        ("name", ".ocr"),
        ("name", "a/b"),
        ("name", ""),
        ("name", "x" * 65),
        ("adapter", "ocr.tools"),
        ("adapter", "ocr.tools:"),
        ("adapter", "ocr tools:Ocr"),
        ("adapter", "tools:Ocr()"),
        ("isolation", "inline"),
        ("path", [""]),
        ("path", "lib"),
        ("config", []),
        ("limits", 3),
        ("env", {"allow": ["A B"]}),
        ("env", {"set": {"A=B": "x"}}),
        ("env", {"set": {"A": "x\x00y"}}),
        ("env", {"set": {"A": {"file": ""}}}),
        ("env", {"set": {"A": {"path": "/x"}}}),
        ("limits", {"start_timeout": 0}),
        ("limits", {"memory": -1}),
        ("limits", {"workers": True}),
        ("limits", {"grace": float("nan")}),
        ("resources", {"gpus": -0.5}),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        parse_manifest({**SMALL, key: value}, tmp_path / "plugin.toml")
    assert all(name.startswith(key) for name in fields(caught.value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, -(2**63) - 1])
def test_config_that_another_process_could_not_get_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(BridgeError) as caught:
        parse_manifest({**SMALL, "config": {"a": {"b": [0, value]}}}, tmp_path / "plugin.toml")
    assert list(fields(caught.value)) == ["config.a.b[1]"]


def test_a_date_in_the_config_is_refused(tmp_path: Path) -> None:
    error = refusal(file(tmp_path, 'name = "a"\nadapter = "a:B"\nconfig = { since = 2024-05-01, at = 10:00:00 }\n'))
    assert set(fields(error)) == {"config.since", "config.at"}


def test_values_of_variables_never_stand_in_errors_or_in_a_repr(tmp_path: Path) -> None:
    text = 'name = "ocr"\nadapter = "a:B"\nfoo = "hunter2"\n[env.set]\nPASSWORD = "hunter2"\nOTHER = ["hunter2"]\n'
    assert "hunter2" not in refusal(file(tmp_path, text)).message
    manifest = parse_manifest({**SMALL, "env": {"set": {"PASSWORD": "hunter2"}}}, tmp_path / "plugin.toml")
    assert "hunter2" not in repr(manifest)
    assert "PASSWORD" in repr(manifest)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("plugin.toml", "name = ", "is not TOML"),
        ("plugin.json", "{", "is not JSON"),
        ("plugin.json", "[]", "one object"),
        ("plugin.json", "[" * 100_000, "is not JSON"),
        ("plugin.yaml", "name: ocr", ".toml or .json"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str, text: str, expected: str) -> None:
    assert expected in refusal(file(tmp_path, text, name)).message


def test_a_manifest_of_cjm_is_known_by_its_fields(tmp_path: Path) -> None:
    flat = {"name": "a", "python_path": "/x", "module": "m", "class": "C"}
    for content in (flat, {"format_version": "2.0", "install": {}, "code": {}}):
        assert "bridge manifest convert" in refusal(file(tmp_path, json.dumps(content), "plugin.json")).message


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "plugin.toml").message
    (tmp_path / "circle.toml").symlink_to("circle.toml")
    refusal(tmp_path / "circle.toml")


# Whose files they are


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_w19_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = file(tmp_path, WHOLE)
    load_manifest(path)
    path.chmod(mode)
    assert "chmod go-w" in refusal(path).message


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_w19_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = file(folder, WHOLE)
    folder.chmod(mode)
    assert str(folder) in refusal(path).message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_w19_what_belongs_to_somebody_else_is_refused(tmp_path: Path, which: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = file(folder, WHOLE)
    os.chown(path if which == "file" else folder, 61234, -1)
    assert "61234" in refusal(path).message


def test_behind_a_link_it_is_the_target_that_counts(tmp_path: Path) -> None:
    real, named = tmp_path / "real", tmp_path / "named"
    real.mkdir()
    named.mkdir()
    target = file(real, WHOLE)
    link = named / "ocr.toml"
    link.symlink_to(target)
    assert load_manifest(link).folder == str(real)
    target.chmod(0o666)
    assert "chmod go-w" in refusal(link).message
    target.chmod(0o644)
    real.chmod(0o777)
    assert str(real) in refusal(link).message


# What is written about it


def test_the_json_schema_is_that_of_the_file() -> None:
    schema = json_schema()
    properties = schema["$defs"]["ManifestFields"]["properties"]
    assert set(properties) == {field.name for field in msgspec.structs.fields(ManifestFields)}
    assert "folder" not in properties
    assert schema["$defs"]["ManifestFields"]["additionalProperties"] is False
    assert issubclass(Manifest, ManifestFields)


def test_every_field_has_a_description() -> None:
    definitions = json_schema()["$defs"]
    for kind in ("ManifestFields", "Environ", "Limits", "Resources", "SecretFile"):
        for name, schema in definitions[kind]["properties"].items():
            assert "description" in schema or "$ref" in schema, f"{kind}.{name}"


def test_the_reference_in_the_documentation_is_made_from_the_fields() -> None:
    text = DOCS.read_text("utf-8")
    begin, end = "<!-- made by bridge.manifest_format.markdown() -->\n", "<!-- end -->"
    assert text.partition(begin)[2].partition(end)[0].strip() == markdown().strip()


@pytest.mark.parametrize(
    ("own", "where"),
    [
        ({"env": {"set": {"A": "\ud800"}}}, "env.set.A"),
        ({"env": {"set": {"\ud800": "a"}}}, "env.set"),
        ({"config": {"a": ["\udfff"]}}, "config.a[0]"),
        ({"python": "~\ud800"}, "python"),
        ({"env": {"set": {"A": {"file": "/a\x00b"}}}}, "env.set.A.file"),
        ({"python": "~nobody\x00x"}, "python"),
    ],
)
def test_text_that_the_system_cannot_take_is_refused(tmp_path: Path, own: dict[str, Any], where: str) -> None:
    assert where in fields(refusal(file(tmp_path, json.dumps({**SMALL, **own}), "plugin.json")))


def test_a_table_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, 'name = "a"\nadapter = "a:B"\nconfig' + ".a" * 20_000 + " = 1\n")
    assert "inside one another" in refusal(path).message

"""``bridge manifest``: convert, show, schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from bridge.manifest import load_manifest
from tests.cli.conftest import Command

CJM = {
    "name": "whisper",
    "python_path": "/opt/whisper/bin/python",
    "module": "whisper_plugin",
    "class": "Whisper",
    "author": "Ada",
    "env_vars": {"HF_TOKEN": "hf_secret"},
}
OURS = """
name = "ocr"
adapter = "tools.py:Ocr"
[env.set]
TOKEN = "hunter2"
KEY = { file = "key" }
[config]
language = "en"
"""


@pytest.fixture
def cjm(tmp_path: Path) -> Path:
    return put(tmp_path / "whisper.json", json.dumps(CJM))


def put(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def test_convert_writes_a_manifest_and_says_what_is_left_out(run: Command, cjm: Path, tmp_path: Path) -> None:
    done = run("manifest", "convert", cjm, "-o", "whisper.toml")
    assert done.code == 0
    assert done.out == ""
    assert "left out: author" in done.err
    assert "bridge plugins check whisper.toml" in done.err
    manifest = load_manifest(tmp_path / "whisper.toml")
    assert (manifest.adapter, manifest.env.set) == ("whisper_plugin:Whisper", {"HF_TOKEN": "hf_secret"})
    assert (tmp_path / "whisper.toml").stat().st_mode & 0o777 == 0o600


def test_convert_prints_what_can_be_redirected(run: Command, cjm: Path, tmp_path: Path) -> None:
    done = run("manifest", "convert", cjm)
    assert done.code == 0
    assert load_manifest(put(tmp_path / "out.toml", done.out)).name == "whisper"
    assert run("manifest", "convert", cjm, "--json-output").document["name"] == "whisper"


def test_convert_to_json_makes_json(run: Command, cjm: Path, tmp_path: Path) -> None:
    assert run("manifest", "convert", cjm, "-o", "out.json").code == 0
    assert load_manifest(tmp_path / "out.json").name == "whisper"


def test_convert_writes_over_nothing_unless_it_is_asked_to(run: Command, cjm: Path, tmp_path: Path) -> None:
    there = put(tmp_path / "out.toml", "mine")
    done = run("manifest", "convert", cjm, "-o", "out.toml")
    assert done.code == ExitCode.FAILED
    assert "--force" in done.err
    assert there.read_text("utf-8") == "mine"
    assert run("manifest", "convert", cjm, "-o", "out.toml", "--force").code == 0
    assert load_manifest(there).name == "whisper"


def test_convert_of_something_else_is_wrong_usage(run: Command, tmp_path: Path) -> None:
    done = run("manifest", "convert", put(tmp_path / "x.json", "{}"))
    assert done.code == ExitCode.USAGE
    assert "python_path" in done.err


def test_show_gives_every_field_and_no_value_of_a_variable(run: Command, tmp_path: Path) -> None:
    put(tmp_path / "ocr.toml", OURS)
    done = run("manifest", "show", "ocr.toml")
    assert done.code == 0
    assert f'adapter = "{tmp_path}/tools.py:Ocr"' in done.out
    assert f'working_directory = "{tmp_path}"' in done.out
    assert "start_timeout = 30.0" in done.out
    assert 'TOKEN = "(hidden)"' in done.out
    assert "hunter2" not in done.out
    document = run("manifest", "show", "ocr.toml", "--json-output").document
    assert document["env"]["set"] == {"TOKEN": "(hidden)", "KEY": {"file": f"{tmp_path}/key"}}
    assert document["config"] == {"language": "en"}
    assert document["limits"]["workers"] is None


def test_show_of_what_is_wrong_names_the_file_and_the_field(run: Command, tmp_path: Path) -> None:
    put(tmp_path / "ocr.toml", f'{OURS}\n[limits]\nworker = "hunter2"\n')
    done = run("manifest", "show", "ocr.toml")
    assert done.code == ExitCode.USAGE
    assert "ocr.toml" in done.err
    assert "limits.worker" in done.err
    assert "hunter2" not in done.err


def test_show_moves_no_cursor_of_the_terminal(run: Command, tmp_path: Path) -> None:
    put(tmp_path / "ocr.toml", 'name = "a"\nadapter = "a:B"\ndescription = "\\u009b31m"\n')
    assert "\x9b" not in run("manifest", "show", "ocr.toml").out


def test_the_schema_is_one_document(run: Command) -> None:
    document = run("manifest", "schema").document
    assert document["$schema"].endswith("2020-12/schema")
    assert "python" in document["$defs"]["ManifestFields"]["properties"]

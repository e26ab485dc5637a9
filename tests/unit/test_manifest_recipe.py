"""How a plugin is started: where, with what in its environment, and what has to be there for it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.manifest import Manifest, manifest_recipe, parse_manifest

SMALL: dict[str, Any] = {"name": "ocr", "adapter": "ocr.tools:Ocr"}


def plugin(folder: Path, **fields: Any) -> Manifest:
    return parse_manifest({**SMALL, **fields}, folder / "plugin.toml")


def environ(manifest: Manifest, **given: str) -> dict[str, str]:
    found = manifest_recipe(manifest, given).environ
    assert found is not None
    return dict(found)


def problems(manifest: Manifest) -> dict[str, str]:
    with pytest.raises(BridgeError) as caught:
        manifest_recipe(manifest)
    assert caught.value.reason == "MANIFEST"
    assert manifest.file in caught.value.message
    return {violation.field: violation.description for violation in caught.value.violations}


def test_a_recipe_says_all_there_is_to_know(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "tools.py").write_text("", "utf-8")
    limits = {"memory": 10**9, "cpu_seconds": 60, "open_files": 64, "processes": 100, "start_timeout": 3}
    manifest = plugin(
        tmp_path, adapter="tools.py:Ocr", python=sys.executable, path=["lib"], limits=limits, config={"a": [1, None]}
    )
    recipe = manifest_recipe(manifest)
    assert (recipe.preload, recipe.run, recipe.runtime) == ("bridge.plugin:preload", "bridge.plugin:run", True)
    assert (recipe.python, recipe.cwd, recipe.about) == (sys.executable, str(tmp_path), "plugin ocr")
    assert recipe.limits == {"AS": 10**9, "CPU": 60, "NOFILE": 64, "NPROC": 100}
    assert recipe.start_timeout == 3
    assert json.loads(recipe.argument) == {
        "adapter": f"{tmp_path}/tools.py:Ocr",
        "path": [f"{tmp_path}/lib"],
        "config": {"a": [1, None]},
    }


def test_what_is_not_said_is_left_to_the_server(tmp_path: Path) -> None:
    recipe = manifest_recipe(plugin(tmp_path))
    assert (recipe.python, recipe.limits, recipe.start_timeout) == ("", {}, 30.0)


def test_an_empty_config_is_one_unless_somebody_gives_another_later(tmp_path: Path) -> None:
    def config(manifest: Manifest, *, initialize: bool) -> Any:
        return json.loads(manifest_recipe(manifest, initialize=initialize).argument)["config"]

    empty, other = plugin(tmp_path), plugin(tmp_path, config={"a": 1})
    assert [config(empty, initialize=True), config(empty, initialize=False)] == [{}, None]
    assert [config(other, initialize=True), config(other, initialize=False)] == [{"a": 1}, {"a": 1}]


# The environment


def test_a_plugin_gets_of_the_servers_environment_what_every_program_needs(tmp_path: Path) -> None:
    given = {"PATH": "/bin", "HOME": "/h", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "CUDA_VISIBLE_DEVICES": "1"}
    hidden = {"AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/x", "LD_LIBRARY_PATH": "/x", "BRIDGE_TOKENS": "x", "L": "x"}
    assert environ(plugin(tmp_path), **given, **hidden) == given


def test_more_is_passed_on_by_name_or_by_the_beginning_of_a_name(tmp_path: Path) -> None:
    manifest = plugin(tmp_path, env={"allow": ["HF_*", "ONE", "MISSING"]})
    given = {"HF_HOME": "/hf", "HF_TOKEN": "t", "ONE": "1", "ONE_MORE": "2", "HFX": "3", "hf_x": "4"}
    assert environ(manifest, **given) == {"HF_HOME": "/hf", "HF_TOKEN": "t", "ONE": "1"}


def test_what_is_set_wins(tmp_path: Path) -> None:
    manifest = plugin(tmp_path, env={"allow": ["MODE"], "set": {"MODE": "fast", "PATH": "/mine"}})
    assert environ(manifest, MODE="slow", PATH="/bin") == {"MODE": "fast", "PATH": "/mine"}


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: str) -> None:
    secret = tmp_path / "token"
    secret.write_bytes(content.encode())
    secret.chmod(0o600)
    manifest = plugin(tmp_path, env={"set": {"TOKEN": {"file": "token"}}})
    assert environ(manifest) == {"TOKEN": "s3cret"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret", "utf-8")
    secret.chmod(mode)
    found = problems(plugin(tmp_path, env={"set": {"TOKEN": {"file": "token"}}}))
    assert list(found) == ["env.set.TOKEN"]
    assert "chmod 600" in found["env.set.TOKEN"]
    assert "s3cret" not in found["env.set.TOKEN"]


def test_a_secret_that_no_variable_can_hold_is_refused_without_being_shown(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_bytes(b"s3\x00cret")
    secret.chmod(0o600)
    found = problems(plugin(tmp_path, env={"set": {"TOKEN": {"file": "token"}}}))
    assert "cret" not in found["env.set.TOKEN"].replace("secret", "")


# What has to be there


def test_everything_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    manifest = plugin(
        tmp_path, adapter="tools.py:Ocr", python=f"{tmp_path}/env", path=["lib"], working_directory="work"
    )
    found = problems(manifest)
    assert set(found) == {"python", "adapter", "path[0]", "working_directory"}
    assert f"bridge env create {tmp_path}/env" in found["python"]


def test_paths_that_no_file_can_have_are_not_there(tmp_path: Path) -> None:
    manifest = plugin(tmp_path, adapter="a\0.py:Ocr", python="/a\0b", path=["a\0"], working_directory="a\0")
    assert len(problems(manifest)) == 4


def test_an_interpreter_that_cannot_be_run_is_none(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("", "utf-8")
    assert list(problems(plugin(tmp_path, python=f"{tmp_path}/python"))) == ["python"]
    venv = tmp_path / "venv"
    venv.mkdir()
    found = problems(plugin(tmp_path, python=str(venv)))
    assert f"{venv}/bin/python" in found["python"]


@pytest.mark.parametrize("open_to_others", ["tools.py", "lib", "code"])
def test_code_that_others_can_change_is_refused(tmp_path: Path, open_to_others: str) -> None:
    code = tmp_path / "code"
    (code / "lib").mkdir(parents=True)
    (code / "tools.py").write_text("", "utf-8")
    manifest = plugin(tmp_path, adapter="code/tools.py:Ocr", path=["code/lib"])
    manifest_recipe(manifest)
    target = code if open_to_others == "code" else code / open_to_others
    target.chmod(0o777)
    found = problems(manifest)
    assert list(found) == ["path[0]" if open_to_others == "lib" else "adapter"]
    assert "chmod go-w" in next(iter(found.values()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_code_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("", "utf-8")
    os.chown(tmp_path / "tools.py", 61234, -1)
    assert list(problems(plugin(tmp_path, adapter="tools.py:Ocr"))) == ["adapter"]

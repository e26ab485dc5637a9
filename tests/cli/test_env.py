"""``bridge env create``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import bridge
from tests.plugins.wheels import make_wheel


def test_the_line_for_the_manifest_is_all_there_is_on_stdout(run: Command, tmp_path: Path) -> None:
    done = run("env", "create", "./env")
    assert done.code == 0
    assert tomllib.loads(done.out) == {"python": str(tmp_path / "env")}
    assert (tmp_path / "env" / "bin" / "python").exists()
    assert "is complete" in done.err
    again = run("env", "create", "./env")
    assert again.out == done.out
    assert "is there already" in again.err


def test_a_name_is_a_folder_of_the_user(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    document = run("env", "create", "ocr", "--json-output").document
    assert document["path"] == str(tmp_path / "data" / "bridge" / "envs" / "ocr")
    assert document["made"] is True


def test_what_comes_after_two_dashes_is_for_the_installer_whose_progress_is_on_stderr(tmp_path: Path) -> None:
    make_wheel(tmp_path)
    (tmp_path / "r.txt").write_text("sample-tool\n", "utf-8")
    extra = ("--", "--no-index", "--find-links", str(tmp_path))
    done = bridge("env", "create", "./env", "-r", "r.txt", "--installer", "pip", *extra, cwd=tmp_path)
    assert done.code == 0
    assert (tmp_path / "env" / "bin" / "sample-tool").exists()
    assert tomllib.loads(done.out) == {"python": str(tmp_path / "env")}
    assert "Successfully installed" in done.err


def test_another_plan_for_what_is_there_fails_and_says_how_to_go_on(run: Command, tmp_path: Path) -> None:
    assert run("env", "create", "./env").code == 0
    (tmp_path / "r.txt").write_text("", "utf-8")
    done = run("env", "create", "./env", "-r", "r.txt")
    assert done.code == ExitCode.FAILED
    assert "--recreate" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("a b",),
        ("./env", "--installer", "conda"),
        ("./env", "-r", "missing.txt"),
        ("./env", "--lock", "poetry.lock"),
        ("./env", "--python", "/no/such/python", "--installer", "pip"),
    ],
)
def test_what_cannot_be_is_wrong_usage_and_makes_nothing(run: Command, tmp_path: Path, arguments: list[str]) -> None:
    done = run("env", "create", *arguments)
    assert done.code == ExitCode.USAGE
    assert not (tmp_path / "env").exists()

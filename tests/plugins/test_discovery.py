"""Plugins by name: what is found, in which order, what is not, and what adding and removing leave behind."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.manifest import load_manifest
from bridge.plugins.discovery import add, discover, find, plugins_folder, remove


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir(mode=0o700)
    return made


def put(folder: Path, file: str, name: str, more: str = "") -> Path:
    path = folder / file
    path.write_text(f'name = "{name}"\nadapter = "tools:Tools"\n{more}', "utf-8")
    path.chmod(0o644)
    return path


def refusal(code: Code, reason: str) -> AbstractContextManager[object]:
    return pytest.raises(BridgeError, check=lambda error: (error.code, error.reason) == (code, reason))


# Where


def test_the_folder_is_the_users_and_never_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert plugins_folder({}) == Path("/home/ada/.local/share/bridge/plugins")
    assert plugins_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/bridge/plugins")
    assert plugins_folder({"XDG_DATA_HOME": "data"}) == Path("/home/ada/.local/share/bridge/plugins")
    assert plugins_folder({"XDG_DATA_HOME": "/data", "BRIDGE_PLUGINS_DIR": "/p"}) == Path("/p")
    assert plugins_folder({"BRIDGE_PLUGINS_DIR": "/p"}, "/named") == Path("/named")
    assert plugins_folder({}, "named") == tmp_path / "named"


# What is found


def test_a_folder_that_is_not_there_holds_no_plugins(tmp_path: Path) -> None:
    found = discover(tmp_path / "none")
    assert (found.plugins, found.rejected) == ((), ())


def test_plugins_come_in_the_order_of_their_files(folder: Path) -> None:
    for file, name in (("b.toml", "one"), ("a.toml", "two"), ("c.toml", "three")):
        put(folder, file, name)
    (folder / "notes.txt").write_text("", "utf-8")
    put(folder, ".draft.toml", "draft")
    found = discover(folder)
    assert [plugin.name for plugin in found.plugins] == ["two", "one", "three"]
    assert found.rejected == ()


def test_of_two_with_a_name_the_first_counts_and_the_second_is_reported(folder: Path) -> None:
    first, second = put(folder, "a.toml", "same"), put(folder, "b.toml", "same")
    found = discover(folder)
    assert [plugin.file for plugin in found.plugins] == [str(first)]
    (rejected,) = found.rejected
    assert rejected.file == second
    assert str(first) in rejected.problem


def test_what_is_wrong_is_reported_and_hides_nothing(folder: Path) -> None:
    put(folder, "a.toml", "a", "foo = 1\n")
    (folder / "b.toml").write_text("name = ", "utf-8")
    put(folder, "c.toml", "c").chmod(0o666)
    put(folder, "d.toml", "d")
    (folder / "e.toml").mkdir()
    (folder / "f.toml").symlink_to("nowhere")
    found = discover(folder)
    assert [plugin.name for plugin in found.plugins] == ["d"]
    assert [one.file.name for one in found.rejected] == ["a.toml", "b.toml", "c.toml", "e.toml", "f.toml"]
    assert all(str(one.file) in one.problem for one in found.rejected)


def test_a_folder_that_others_can_change_is_refused_as_a_whole(folder: Path) -> None:
    put(folder, "a.toml", "a")
    folder.chmod(0o770)
    with refusal(Code.INVALID_ARGUMENT, "PLUGINS_FOLDER"):
        discover(folder)


def test_a_plugin_is_found_by_its_name(folder: Path) -> None:
    path = put(folder, "a.toml", "ocr")
    assert find("ocr", folder).file == str(path)


def test_a_plugin_that_is_not_there_comes_with_the_one_that_was_meant(folder: Path) -> None:
    put(folder, "a.toml", "transcribe")
    with pytest.raises(BridgeError, match="did you mean 'transcribe'") as caught:
        find("trancsribe", folder)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "PLUGIN_NOT_FOUND")


def test_a_plugin_whose_file_was_rejected_comes_with_the_reason(folder: Path) -> None:
    put(folder, "ocr.toml", "ocr", "foo = 1\n")
    with pytest.raises(BridgeError, match="foo: there is no such field"):
        find("ocr", folder)


# Adding and removing


def test_a_copy_means_the_same_as_the_original(tmp_path: Path, folder: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    more = (
        'path = ["lib"]\npython = "/opt/venv"\n[env]\nallow = ["A"]\n'
        '[env.set]\nK = "v"\nS = { file = "secret" }\n[config]\nempty = ""\nlist = []\nother = [{ a = 1.5 }]\n'
    )
    original = load_manifest(put(work, "plugin.toml", "ocr", more))
    copy = load_manifest(add(original, folder))
    assert copy.file == str(folder / "ocr.toml")
    assert (copy.search_path, copy.runs_in) == (original.search_path, original.runs_in)
    assert copy.config == original.config
    assert (copy.env.allow, copy.env.set["K"]) == (["A"], "v")
    assert copy.at(copy.env.set["S"].file) == work / "secret"  # type: ignore[union-attr]


def test_a_copy_of_json_is_json_with_its_nulls(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "plugin.json"
    path.write_text('{"name": "ocr", "adapter": "tools.py:Tools", "config": {"a": null, "b": [null]}}', "utf-8")
    copy = load_manifest(add(load_manifest(path), folder))
    assert copy.file == str(folder / "ocr.json")
    assert copy.config == {"a": None, "b": [None]}
    assert copy.adapter_spec == f"{tmp_path}/tools.py:Tools"


def test_nobody_else_can_change_a_copy_or_read_what_they_could_not(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = tmp_path / "data" / "plugins"
        original = put(tmp_path, "plugin.toml", "ocr")
        copy = add(load_manifest(original), folder)
        assert (copy.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o644, 0o700)
        original.chmod(0o600)
        assert add(load_manifest(original), folder, force=True).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_plugin_is_not_replaced_unless_it_is_asked_for(tmp_path: Path, folder: Path) -> None:
    there = put(folder, "other-name.toml", "ocr", 'version = "1"\n')
    manifest = load_manifest(put(tmp_path, "plugin.toml", "ocr", 'version = "2"\n'))
    with pytest.raises(BridgeError, match="--force") as caught:
        add(manifest, folder)
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, "PLUGIN_EXISTS")
    assert find("ocr", folder).version == "1"
    add(manifest, folder, force=True)
    assert find("ocr", folder).version == "2"
    assert not there.exists()
    assert discover(folder).rejected == ()


def test_nothing_is_added_to_a_folder_that_others_can_change(tmp_path: Path, folder: Path) -> None:
    manifest = load_manifest(put(tmp_path, "plugin.toml", "ocr"))
    folder.chmod(0o777)
    with refusal(Code.INVALID_ARGUMENT, "PLUGINS_FOLDER"):
        add(manifest, folder)
    assert list(folder.iterdir()) == []


def test_a_removed_plugin_is_gone_and_the_others_are_not(folder: Path) -> None:
    one, other = put(folder, "a.toml", "one"), put(folder, "b.toml", "other")
    assert remove("one", folder) == [one]
    assert [plugin.file for plugin in discover(folder).plugins] == [str(other)]


def test_a_file_that_was_rejected_can_be_removed_by_its_name(folder: Path) -> None:
    broken = put(folder, "ocr.toml", "ocr", "foo = 1\n")
    assert remove("ocr", folder) == [broken]
    assert not broken.exists()


def test_removing_what_is_not_there_says_so(folder: Path) -> None:
    with refusal(Code.NOT_FOUND, "PLUGIN_NOT_FOUND"):
        remove("ocr", folder)

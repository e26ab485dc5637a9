"""Manifests of cjm-plugin-system, both formats, become ours, and what is left out is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.manifest import parse_manifest
from bridge.plugins.convert import convert

FLAT: dict[str, Any] = {
    "name": "whisper-plugin",
    "version": "0.3.1",
    "description": "Turns speech into text.",
    "author": "Ada",
    "category": "transcription",
    "interface": "some.package.TranscriptionPlugin",
    "python_path": "/opt/conda/envs/whisper/bin/python",
    "conda_env": "whisper",
    "db_path": "/data/whisper.db",
    "module": "whisper_plugin.plugin",
    "class": "WhisperPlugin",
    "env_vars": {"CUDA_VISIBLE_DEVICES": "0", "HF_TOKEN": "hf_secret"},
    "config_schema": {"type": "object", "properties": {"model": {"type": "string"}}},
    "resources": {"requires_gpu": True, "min_gpu_vram_mb": 4096, "min_system_ram_mb": 2048},
}
NESTED: dict[str, Any] = {
    "format_version": "2.0",
    "install": {
        "python_path": FLAT["python_path"],
        "conda_env": "whisper",
        "db_path": "",
        "env_vars": FLAT["env_vars"],
        "installed_at": "2026-05-19T10:00:00Z",
        "installer_version": "cjm-ctl 0.0.45",
        "package_source": "git+https://example.org/whisper",
    },
    "code": {
        "name": FLAT["name"],
        "version": FLAT["version"],
        "description": FLAT["description"],
        "module": FLAT["module"],
        "class": FLAT["class"],
        "interface": "",
        "taxonomy": {"domain": "audio", "role": "transcription", "interface_fqcn": ""},
        "resources": {"requires_gpu": True, "platforms": ["linux-x64"], "accelerators": []},
        "worker_env": [{"name": "HF_TOKEN", "secret": True}, {"name": "HF_HOME", "default": "x"}],
    },
    "drift_tracking": {"config_schema_hash": None, "structural_surface_hash": None},
    "overrides": {},
}


def write(folder: Path, content: object) -> Path:
    path = folder / "whisper.json"
    path.write_text(json.dumps(content), "utf-8")
    path.chmod(0o644)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BridgeError) as caught:
        convert(path)
    assert caught.value.reason == "MANIFEST"
    assert str(path) in caught.value.message
    return caught.value.message


def test_a_flat_manifest_becomes_one_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path, FLAT)
    fields = convert(path).fields
    manifest = parse_manifest(fields, path)
    assert (manifest.name, manifest.version, manifest.description) == (
        "whisper-plugin",
        "0.3.1",
        "Turns speech into text.",
    )
    assert manifest.adapter == "whisper_plugin.plugin:WhisperPlugin"
    assert manifest.python == FLAT["python_path"]
    assert manifest.env.set == FLAT["env_vars"]
    assert (manifest.resources.gpus, manifest.resources.gpu_memory) == (1, 4096 * 1024**2)
    assert manifest.resources.memory == 2048 * 1024**2


def test_a_nested_manifest_becomes_the_same(tmp_path: Path) -> None:
    flat = convert(write(tmp_path, {**FLAT, "resources": {"requires_gpu": True}})).fields
    assert convert(write(tmp_path, NESTED)).fields == flat


def test_everything_that_is_left_out_is_said(tmp_path: Path) -> None:
    def names(content: object) -> set[str]:
        return {sentence.partition(":")[0] for sentence in convert(write(tmp_path, content)).left_out}

    environment = "the server's environment"
    flat = {"author", "category", "interface", "conda_env", "db_path", "config_schema"}
    assert names(FLAT) == flat | {environment}
    nested = {"conda_env", "installed_at", "installer_version", "package_source", "taxonomy", "platforms"}
    assert names(NESTED) == nested | {"worker_env (HF_TOKEN, HF_HOME)", environment}
    assert "colour" in names({**FLAT, "colour": "red"})


def test_what_is_said_holds_no_value_of_a_variable(tmp_path: Path) -> None:
    assert "hf_secret" not in " ".join(convert(write(tmp_path, FLAT)).left_out)


def test_a_name_that_no_file_could_have_is_changed_and_said(tmp_path: Path) -> None:
    converted = convert(write(tmp_path, {**FLAT, "name": "../my plugin!"}))
    assert converted.fields["name"] == "my-plugin"
    assert any(sentence.startswith("name:") for sentence in converted.left_out)


@pytest.mark.parametrize("key", ["python_path", "module", "class", "name"])
def test_what_is_missing_is_named(tmp_path: Path, key: str) -> None:
    content = {name: value for name, value in FLAT.items() if name != key}
    assert key in refusal(write(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"python_path": "envs/bin/python"}, "relative"),
        ({"env_vars": {"A": 1}}, "env_vars"),
        ({"env_vars": "A=1"}, "env_vars"),
        ({"bridge_manifest": 1}, "already"),
        ({"format_version": "3.0"}, "format_version"),
        ({"format_version": "2.0"}, "install"),
        ({"class": "Not A Class"}, "adapter"),
        ({"module": 3}, "module"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(write(tmp_path, {**FLAT, **change}))


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    assert "one object" in refusal(write(tmp_path, [FLAT]))
    path = write(tmp_path, FLAT)
    path.write_text("{", "utf-8")
    assert "not JSON" in refusal(path)


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, FLAT)
    path.chmod(0o666)
    assert "chmod go-w" in refusal(path)

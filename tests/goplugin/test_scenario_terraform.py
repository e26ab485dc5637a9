"""Terraform, or OpenTofu, runs a provider in Python. Needs one of them: on the path, or named by the variable
TOOL_BRIDGE_TEST_TERRAFORM."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent.parent
PROVIDER = [sys.executable, "-m", "tests.goplugin.terraform.provider"]
CONFIGURATION = """
terraform {
  required_providers {
    py = { source = "example.com/test/py" }
  }
}
resource "py_note" "a" {
  text = "hello from python"
}
output "size" {
  value = py_note.a.size
}
"""


class Terraform:
    """The program, with a folder in which the provider is configured."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self.folder = program, folder
        start = folder / "terraform-provider-py"
        start.write_text(f'#!/bin/sh\ncd "{CHECKOUT}" && exec {" ".join(PROVIDER)}\n')
        start.chmod(start.stat().st_mode | stat.S_IXUSR)
        rc = folder / "rc"
        overrides = f'dev_overrides {{ "example.com/test/py" = "{folder}" }}'
        rc.write_text(f"provider_installation {{\n{overrides}\ndirect {{}}\n}}\n")
        (folder / "main.tf").write_text(CONFIGURATION)
        self._environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(rc), "CHECKPOINT_DISABLE": "1"}

    async def run(self, *arguments: str, **environment: str) -> tuple[str, str]:
        """What it has printed, on stdout and on stderr."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            cwd=self.folder,
            env={**self._environment, **environment},
            stdout=PIPE,
            stderr=PIPE,
        )
        stdout, stderr = (part.decode() for part in await process.communicate())
        assert process.returncode == 0, stdout + stderr
        return stdout, stderr


@pytest.fixture
def terraform(tmp_path: Path) -> Terraform:
    """Skips the test where there is none."""
    program = os.environ.get("TOOL_BRIDGE_TEST_TERRAFORM") or shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("needs terraform or tofu on the path, or its path in TOOL_BRIDGE_TEST_TERRAFORM")
    return Terraform(program, tmp_path)


@pytest.mark.parametrize("tls", [{}, {"TF_DISABLE_PLUGIN_TLS": "1"}], ids=["AutoMTLS", "plain"])
async def test_gp33_terraform_shows_the_schema_of_a_provider_and_applies_its_resource(
    terraform: Terraform, tls: dict[str, str]
) -> None:
    async with asyncio.timeout(50):
        shown, _ = await terraform.run("providers", "schema", "-json", **tls)
        [provider] = json.loads(shown)["provider_schemas"].values()
        attributes = provider["resource_schemas"]["py_note"]["block"]["attributes"]
        assert {name: attribute["type"] for name, attribute in attributes.items()} == {
            "text": "string",
            "size": "number",
        }
        _, log = await terraform.run("apply", "-auto-approve", "-no-color", TF_LOG="info", **tls)
        assert "printed by the provider" in log
        assert "configured: @module=provider answer=42" in log
        size, _ = await terraform.run("output", "-json", **tls)
        assert json.loads(size)["size"]["value"] == len("hello from python")
        await terraform.run("destroy", "-auto-approve", **tls)


async def test_gp33_terraform_reattaches_to_a_provider_in_a_debugger_and_leaves_it_alive(terraform: Terraform) -> None:
    provider = await asyncio.create_subprocess_exec(*PROVIDER, "--debug", cwd=CHECKOUT, stdout=PIPE)
    try:
        async with asyncio.timeout(50):
            assert provider.stdout is not None
            reattach = json.loads(await provider.stdout.readline())
            found = json.dumps({"example.com/test/py": reattach})
            await terraform.run("apply", "-auto-approve", TF_REATTACH_PROVIDERS=found)
            assert provider.returncode is None
            await terraform.run("plan", TF_REATTACH_PROVIDERS=found)  # once more
            provider.send_signal(signal.SIGINT)
            assert await provider.wait() == 0
    finally:
        if provider.returncode is None:
            provider.kill()
            await provider.wait()

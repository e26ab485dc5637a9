"""The module for Go in clients/go: its own tests, and its example host with `bridge plugin`."""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from bridge.v1 import bridge_pb2, host_pb2, plugin_pb2, values_pb2
from tests.cli.running import command, environment
from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import HostError
from tests.support import go_programs

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "clients" / "go"
SHOP = MODULE / "example" / "shop.py"

pytestmark = pytest.mark.timeout(600)  # the first time all of gRPC is compiled

SAID = """\
tool count_down: Counts down to zero.
tool pay: Price of the basket in cents. Prices are the host's: they are asked by its tool `price`.
tool put: Puts an item into the basket, which is a variable of the session, and returns how many are in it.
tool total: Sum of prices.
total: 315
refused: $.cents
counting: 3
counting: 2
counting: 1
counting: 0
basket: [bread apple]
to pay: 315
"""


@pytest.fixture(scope="module")
def example() -> Path:
    return go_programs.build("example", MODULE)


@pytest.mark.parametrize("host_flags", [[], ["-multiplex"]], ids=["sockets", "multiplexed"])
@pytest.mark.parametrize("plugin_flags", [[], ["--isolation", "process", "--workers", "1"]], ids=["here", "processes"])
def test_the_example_host_calls_streams_and_shares_variables(
    example: Path, host_flags: list[str], plugin_flags: list[str]
) -> None:
    arguments = [example, *host_flags, "--", *command("plugin", SHOP, *plugin_flags)]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, SAID, "")


def go(*arguments: str) -> subprocess.CompletedProcess[str]:
    plugin = " ".join(command("plugin", SHOP))
    return subprocess.run(
        ["go", *arguments],
        cwd=MODULE,
        env=environment() | go_programs.go_environment() | {"TOOL_BRIDGE_PLUGIN_COMMAND": plugin},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_the_module_passes_its_own_tests_and_gos_checks(example: Path) -> None:
    for step in (["vet", "./..."], ["test", "./..."]):
        done = go(*step)
        assert done.returncode == 0, done.stdout + done.stderr
    gofmt = shutil.which("gofmt") or str(Path(go("env", "GOROOT").stdout.strip(), "bin", "gofmt"))
    done = subprocess.run([gofmt, "-l", "."], cwd=MODULE, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("module", [bridge_pb2, host_pb2, plugin_pb2, values_pb2], ids=lambda module: module.__name__)
def test_the_stubs_for_go_are_made_from_the_same_files(module: Any) -> None:
    ours = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    source = (MODULE / "bridgev1" / Path(ours.name).with_suffix(".pb.go").name).read_text()
    # A constant of concatenated strings, whose escapes are Python's, too.
    constant = re.search(r"_rawDesc = \"\" \+\n((?:\t\".*\"(?: \+)?\n)+)", source)
    assert constant is not None
    parts = [ast.literal_eval(f"b{line.strip().removesuffix(' +')}") for line in constant[1].splitlines()]
    theirs = FileDescriptorProto.FromString(b"".join(parts))
    for message in theirs.message_type:
        forget_json_names(message)
    assert theirs == ours, "stale: run clients/go/generate.sh"


def forget_json_names(message: DescriptorProto) -> None:
    """Python's generated code is without them."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        forget_json_names(nested)


@pytest.mark.parametrize("flags", [[], ["-automtls"], ["-automtls", "-mux"]], ids=" ".join)
async def test_the_example_plugin_keeps_values_for_a_host_of_go(
    run_go_host: RunGoHost, tmp_path: Path, flags: list[str]
) -> None:
    plugin: list[str | Path] = [sys.executable, ROOT / "examples" / "kv_plugin.py"]
    async with asyncio.timeout(30), run_go_host(plugin, *flags, env=environment(), cwd=tmp_path) as host:
        await host.put("hello", b"world")
        assert await host.get("hello") == b"world\n\nWritten from plugin-python"
        with pytest.raises(HostError) as caught:
            await host.get("nothing")
        assert "put it first" in str(caught.value)
        ending = await host.kill()
        assert (ending.forced, ending.exit_code) == (False, 0)
    assert (tmp_path / "kv_hello").read_bytes() == b"world\n\nWritten from plugin-python"

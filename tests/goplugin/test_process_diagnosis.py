"""What a host is told about a program that the system does not run."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from bridge.errors import BridgeError
from bridge.goplugin.process import program_file
from tests.goplugin.process_programs import SAY, copied_shell, open_files, script, started

FOREIGN, FOREIGN_NAME = 258, "EM_LOONGARCH"


def elf(machine: int) -> bytes:
    """The header of a binary, and nothing after it."""
    return (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0)
    )


async def refusal(command: str | Path, cwd: Path | None = None) -> BridgeError:
    """What a start fails with, after which no descriptor is left."""
    before = open_files()
    with pytest.raises(BridgeError) as caught:
        await started([command], cwd=cwd)
    assert open_files() == before
    return caught.value


async def test_name_that_no_directory_of_the_path_has_is_not_found() -> None:
    error = await refusal("no-such-plugin")
    assert error.reason == "PLUGIN_NOT_FOUND"
    assert 'exec: "no-such-plugin": executable file not found in $PATH' in error.message


async def test_path_without_a_file_is_not_found(tmp_path: Path) -> None:
    error = await refusal(tmp_path / "missing")
    assert error.reason == "PLUGIN_NOT_FOUND"
    assert f"fork/exec {tmp_path}/missing: no such file or directory" in error.message


async def test_relative_entries_of_the_path_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "here", f"#!/bin/sh\n{SAY}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:{os.defpath}:")
    assert (await refusal("here")).reason == "PLUGIN_NOT_FOUND"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    process = await started(["here"])
    await process.aclose()


async def test_file_without_permission_is_not_executable(tmp_path: Path) -> None:
    error = await refusal(script(tmp_path / "plain", "#!/bin/sh\n", mode=0o640))
    assert error.reason == "PLUGIN_NOT_EXECUTABLE"
    for part in (f"fork/exec {tmp_path}/plain: permission denied", "chmod", "Mode: -rw-r-----"):
        assert part in error.message


async def test_directory_is_told_to_be_one(tmp_path: Path) -> None:
    error = await refusal(tmp_path)
    assert error.reason == "PLUGIN_NOT_EXECUTABLE"
    assert "it is a directory" in error.message


async def test_binary_for_another_machine_is_told_with_both_machines(tmp_path: Path) -> None:
    program = tmp_path / "foreign"
    program.write_bytes(elf(FOREIGN))
    program.chmod(0o755)
    error = await refusal(program)
    assert error.reason == "PLUGIN_ARCHITECTURE"
    assert f"fork/exec {program}: exec format error" in error.message
    assert f"ELF architecture: {FOREIGN_NAME} (current architecture: " in error.message


async def test_damaged_binary_for_this_machine_is_not_taken_for_a_foreign_one(tmp_path: Path) -> None:
    program = tmp_path / "damaged"
    program.write_bytes(copied_shell(tmp_path / "whole").read_bytes()[:20])
    program.chmod(0o755)
    error = await refusal(program)
    assert error.reason == "PLUGIN_NOT_EXECUTABLE"
    assert "damaged" in error.message


async def test_script_without_an_interpreter_is_told_so(tmp_path: Path) -> None:
    none = await refusal(script(tmp_path / "none", f"{SAY}\n"))
    assert "#! line" in none.message
    missing = await refusal(script(tmp_path / "missing", "#!/no/such/python3 -u\n"))
    assert "'/no/such/python3', which is not there" in missing.message
    dos = await refusal(script(tmp_path / "dos", "#!/bin/sh\r\n"))
    assert "/bin/sh" in dos.message
    assert {none.reason, missing.reason, dos.reason} == {"PLUGIN_NOT_EXECUTABLE"}


async def test_missing_working_directory_is_told_apart_from_a_missing_program(tmp_path: Path) -> None:
    error = await refusal(script(tmp_path / "plugin", f"#!/bin/sh\n{SAY}\n"), cwd=tmp_path / "missing")
    assert error.reason == "PLUGIN_DIRECTORY"
    assert f"chdir {tmp_path}/missing: no such file or directory" in error.message


async def test_program_that_is_being_written_is_told_so(tmp_path: Path) -> None:
    program = copied_shell(tmp_path / "busy")
    with program.open("ab"):
        error = await refusal(program)
    assert error.reason == "PLUGIN_START_FAILED"
    assert "text file busy" in error.message


async def test_escapes_in_a_path_do_not_reach_the_terminal(tmp_path: Path) -> None:
    error = await refusal(f"{tmp_path}/\x1b[31m\udcff")
    assert "\\x1b[31m\\udcff" in error.message
    error.message.encode()


@pytest.mark.parametrize(
    ("content", "format", "machine"),
    [
        (elf(183), "ELF", "EM_AARCH64"),
        (b"\x7fELF\x02\x02" + bytes(12) + b"\x00\x16", "ELF", "EM_S390"),
        (elf(9999), "ELF", "machine 9999"),
        (b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", "MachO", "CpuArm64"),
        (b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0\x64\x86", "PE", "amd64"),
    ],
)
def test_formats_of_binaries_are_told_apart(tmp_path: Path, content: bytes, format: str, machine: str) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    found = program_file.Architecture(format, machine)
    assert program_file.architecture(str(path)) == found
    assert program_file.is_foreign(str(path)) == (program_file.architecture(sys.executable) != found)


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"MZ", b"MZ" + b"\xff" * 100, b"#!/bin/sh\n"]
)
def test_what_is_no_binary_has_no_machine(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "program"
    path.write_bytes(content)
    assert program_file.architecture(str(path)) is None
    assert "architecture" not in program_file.notes(str(path))


def test_our_own_interpreter_is_not_foreign() -> None:
    assert program_file.architecture(sys.executable) is not None
    assert not program_file.is_foreign(sys.executable)

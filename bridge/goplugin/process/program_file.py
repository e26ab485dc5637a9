"""What a program is, as far as its file tells: found by its name, for which machine, whose."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import shutil
import stat
import struct
import sys

import msgspec

__all__ = ["Architecture", "Program", "architecture", "find_program", "interpreter_of_script", "is_foreign", "notes"]

_ELF_MACHINES = {
    3: "EM_386",
    8: "EM_MIPS",
    21: "EM_PPC64",
    22: "EM_S390",
    40: "EM_ARM",
    62: "EM_X86_64",
    183: "EM_AARCH64",
    243: "EM_RISCV",
    258: "EM_LOONGARCH",
}
_MACHO_MACHINES = {7: "Cpu386", 0x01000007: "CpuAmd64", 12: "CpuArm", 0x0100000C: "CpuArm64"}
_PE_MACHINES = {0x14C: "386", 0x1C0: "arm", 0x8664: "amd64", 0xAA64: "arm64", 0x6264: "loong64"}
"""By the formats' own numbers, in the words of Go's debug/elf, debug/macho and of go-plugin."""

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armv7l": "arm", "armv6l": "arm"}
"""Go's ``GOARCH`` by what uname(2) says."""
_HEADER_BYTES = 4096


class Program(msgspec.Struct, frozen=True):
    """The program of a command."""

    path: str
    """Where its file is; absolute."""
    executable: str
    """What is to be executed; a relative one counts from the working directory of the new process."""


class Architecture(msgspec.Struct, frozen=True):
    """The machine a binary is for."""

    format: str
    """``ELF``, ``MachO`` or ``PE``."""
    machine: str


def find_program(name: str, cwd: str) -> Program | None:
    """What a name without a slash means is looked up in our own ``PATH``, as Go does; ``None``: nothing is there.

    Relative entries of ``PATH`` do not count, as in Go: they would depend on where somebody happens to be.
    """
    if "/" in name:
        return Program(path=_absolute(os.path.join(cwd, name)), executable=name)  # noqa: PTH118 - texts
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = shutil.which(name, path=os.pathsep.join(entry for entry in entries if entry.startswith("/")))
    return None if found is None else Program(path=found, executable=found)


def _absolute(path: str) -> str:
    """With ``..`` in it left alone, behind links it is another directory; as it is if ours has been removed."""
    try:
        return path if path.startswith("/") else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - texts
    except FileNotFoundError:
        return path


def architecture(path: str) -> Architecture | None:
    """For which machine a binary is; ``None`` if it is none, or cannot be read."""
    head = _head(path)
    try:
        if head.startswith(b"\x7fELF"):
            order = ">" if head[5] == 2 else "<"
            (number,) = struct.unpack_from(order + "H", head, 18)
            return Architecture("ELF", _ELF_MACHINES.get(number, f"machine {number}"))
        if head.startswith((b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")):
            (number,) = struct.unpack_from("<I", head, 4)
            return Architecture("MachO", _MACHO_MACHINES.get(number, f"cpu {number}"))
        if head.startswith(b"MZ"):
            (offset,) = struct.unpack_from("<I", head, 0x3C)
            mark, number = struct.unpack_from("<4sH", head, offset)
            return Architecture("PE", _PE_MACHINES.get(number, "unknown")) if mark == b"PE\0\0" else None
    except (struct.error, IndexError):  # it ends too early
        pass
    return None


def is_foreign(path: str) -> bool:
    """Whether it is a binary for another machine or system than the interpreter that runs this."""
    found = architecture(path)
    return found is not None and found != architecture("/proc/self/exe")


def interpreter_of_script(path: str) -> str:
    """The program that the first line of a script names; empty: it names none."""
    head = _head(path)
    words = head[2:].partition(b"\n")[0].split(maxsplit=1) if head.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def notes(path: str) -> str:
    """What go-plugin's hosts note about a program that does not work as a plugin; empty if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a text
    except (OSError, ValueError):
        return ""
    lines = [
        "Additional notes about plugin:",
        f"  Path: {path}",
        f"  Mode: {stat.filemode(status.st_mode)}",
        f"  Owner: {status.st_uid} [{_user(status.st_uid)}] (current: {os.getuid()} [{_user(os.getuid())}])",
        f"  Group: {status.st_gid} [{_group(status.st_gid)}] (current: {os.getgid()} [{_group(os.getgid())}])",
    ]
    if (found := architecture(path)) is not None:
        lines.append(f"  {found.format} architecture: {found.machine} (current architecture: {_current()})")
    return "\n".join(lines)


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(fd, _HEADER_BYTES)
    except OSError:  # a directory, or a FIFO
        return b""
    finally:
        os.close(fd)


def _current() -> str:
    machine = platform.machine()
    name = _GO_NAMES.get(machine, machine)
    return f"{name}le" if name in ("ppc64", "mips", "mips64") and sys.byteorder == "little" else name


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return "?"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return "?"

"""Running the command of a plugin: what is looked at before, and how it is started."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from io import FileIO

import msgspec

from bridge.errors import invalid_argument
from bridge.goplugin.process.checksum import SecureConfig, path_of_checked
from bridge.goplugin.process.diagnosis import not_found
from bridge.goplugin.process.program_file import Program, find_program

__all__ = ["Launch", "prepare", "run", "verify", "words_of"]


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A command whose program was found."""

    words: Sequence[str]
    """The program's ``argv``."""
    program: Program
    env: Mapping[str, str]
    """All of its environment."""
    cwd: str
    """Its working directory; empty: ours."""
    inherit_stdin: bool


def words_of(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Program and arguments as texts. Raises ``BridgeError`` INVALID_ARGUMENT."""
    if isinstance(command, (str, bytes, os.PathLike)):
        raise invalid_argument("command", "is a list of a program and its arguments; there is no shell")
    words = [os.fsdecode(word) for word in command]
    if not words or not words[0] or "\0" in "".join(words):
        raise invalid_argument("command", "is a program and its arguments, without NUL characters")
    return words


def prepare(
    command: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None,
    *,
    inherit_stdin: bool,
) -> Launch:
    """Finds the program. Raises ``BridgeError`` INVALID_ARGUMENT, or as ``not_found``."""
    words = words_of(command)
    where = "" if cwd is None else os.fsdecode(cwd)
    if "\0" in where:
        raise invalid_argument("cwd", "is a directory, without NUL characters")
    program = find_program(words[0], where)
    if program is None:
        raise not_found(words[0])
    return Launch(words=words, program=program, env=env, cwd=where, inherit_stdin=inherit_stdin)


async def verify(secure: SecureConfig, program: FileIO) -> None:
    """``SecureConfig.check`` without blocking the event loop. Does not return before the file is no longer read."""
    checking = asyncio.ensure_future(asyncio.to_thread(secure.check, program))
    try:
        await asyncio.shield(checking)
    except asyncio.CancelledError:
        await asyncio.wait((checking,))
        raise


def run(launch: Launch, program: FileIO | None, pass_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Starts it as the leader of a session, with pipes for stdout and stderr.

    Not in a group of our session: who shares a terminal and is in the background is stopped when it reads stdin.

    Args:
        launch: what to run.
        program: its program, if that was verified.
        pass_fds: more descriptors for it.

    Raises ``OSError``.
    """
    executable, fds = launch.program.executable, list(pass_fds)
    if program is not None and (path := path_of_checked(program)) is not None:
        executable = path
        fds.append(program.fileno())
    return subprocess.Popen(  # noqa: S603 - what our caller has named, without a shell
        launch.words,
        bufsize=0,
        executable=executable,
        stdin=None if launch.inherit_stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=launch.env,
        cwd=launch.cwd or None,
        pass_fds=fds,
        start_new_session=True,
    )

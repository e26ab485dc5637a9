"""Fetches a redis-server for the tests, without root, where Debian's package is not installed.

The packages come by ``apt-get download`` from where this machine gets its packages, checked by apt as always. Nothing
is installed: they are unpacked into a folder, with a small script that starts the server with its libraries.

    python3 tools/get_redis.py .tools/redis      # makes .tools/redis/redis-server
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 300.0
ADVICE = "the tests need a redis-server on PATH: install one (Debian, Ubuntu: apt-get install redis-server)"

_STARTER = """\
#!/bin/sh
# Made by tools/get_redis.py.
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
exec "$here/usr/bin/redis-server" "$@"
"""


class Failed(Exception):
    """A program said no; with its reasons."""


def _run(*command: str, cwd: Path | None = None) -> str:
    """What a program prints."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - the system's own programs
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Failed(f"{' '.join(command)}:\n{done.stderr.strip()}")
    return done.stdout


def _own_lists(folder: Path) -> list[str]:
    """Lists of packages of our own, for a machine that has none, as containers often do; options for apt."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder}"]
    _run("apt-get", *options, "update")
    return options


def _libraries_wanted(options: list[str]) -> list[str]:
    """The packages of libraries that Redis depends on and this machine does not have."""
    listed = _run("apt-cache", *options, "depends", "redis-tools")
    libraries = re.findall(r"^ *\|?Depends: (lib\S+)$", listed, re.MULTILINE)
    installed = _run("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${Package}\n")
    present = set(re.findall(r"^ii +(\S+)$", installed, re.MULTILINE))
    return [library for library in libraries if library not in present]


def _download(folder: Path, options: list[str]) -> None:
    # The server is a link in the one package to a program in the other.
    packages = ["redis-server", "redis-tools", *_libraries_wanted(options)]
    _run("apt-get", *options, "download", *packages, cwd=folder)


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            _download(folder, [])
        except Failed:
            _download(folder, _own_lists(folder))
        for archive in sorted(folder.glob("*.deb")):
            _run("dpkg-deb", "--extract", str(archive), str(target))
    folders = sorted({library.parent.relative_to(target) for library in target.glob("**/*.so.*")})
    starter = target / "redis-server"
    starter.write_text(_STARTER.format(libraries=":".join(f"$here/{folder}" for folder in folders)))
    starter.chmod(0o755)
    print(_run(str(starter), "--version").strip())  # noqa: T201 - what a tool of make says


def main() -> None:
    """Makes ``redis-server`` in the folder named on the command line."""
    target = Path(sys.argv[1]).absolute()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        _fetch(target)
    except Failed as error:
        shutil.rmtree(target, ignore_errors=True)
        sys.exit(f"{error}\n{ADVICE}")


if __name__ == "__main__":
    main()

"""Zygotes of other Pythons, in which nothing is installed: only the runtime is there."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, Code
from bridge.worker.nursery import Exit, Newborn, Nursery, Recipe
from tests.support.interpreters import needed
from tests.worker.conftest import OBEY, StartWorker, StartZygote
from tests.worker.pids import watched
from tests.worker.test_starting import refused

ROOT = Path(__file__).parents[2]
PREPARE = "tests.worker.targets:prepare"
ENVIRON = {"PYTHONPATH": str(ROOT), "ONLY": "this"}


def runtime_recipe(python: str, **fields: Any) -> Recipe:
    """For workers that obey, in any Python; ``tests`` is where its environment says."""
    fields = {"argument": "", "preload": PREPARE, "run": OBEY, "environ": ENVIRON, **fields}
    return Recipe(python=python, runtime=True, about="a plugin", **fields)


def say(python: str, program: str) -> str:
    """What a program prints."""
    done = subprocess.run([python, "-c", program], env=ENVIRON, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def environ_of(pid: int | None) -> set[str]:
    """``NAME=value`` for each variable that a process was started with."""
    return set(Path(f"/proc/{pid}/environ").read_text().split("\0")) - {""}


async def end_of(newborn: Newborn) -> Exit:
    """How a worker ends."""
    async with asyncio.timeout(5):
        return await asyncio.shield(newborn.exited)


async def test_w01_worker_of_any_python_has_the_runtime_as_bridge(
    interpreter: str, start_zygote: StartZygote, start_worker: StartWorker
) -> None:
    nursery = await start_zygote(runtime_recipe(interpreter, argument="to be prepared"))
    newborn, talk = await start_worker(nursery)
    facts = await talk.ask("facts")
    assert talk.prepared == [14, "to be prepared"]
    assert Path(facts["bridge"]) == ROOT / "bridge" / "runtime" / "__init__.py"
    assert nursery.version == say(interpreter, "import sys; print('%d.%d.%d' % sys.version_info[:3])")
    assert (facts["parent"], facts["group"]) == (nursery.pid, newborn.pid)
    assert (facts["sigterm"], facts["sigint"], facts["threads"]) == (True, True, 1)
    assert facts["faulthandler"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
async def test_what_multiprocessing_starts_in_a_plugin_has_the_runtime_too(
    method: str, interpreter: str, start_zygote: StartZygote, start_worker: StartWorker
) -> None:
    nursery = await start_zygote(runtime_recipe(interpreter))
    _, talk = await start_worker(nursery)
    async with asyncio.timeout(20):
        assert Path(await talk.ask("in_other_process", method)) == ROOT / "bridge" / "runtime" / "__init__.py"


async def test_w01_nothing_of_the_servers_path_or_folder_is_searched(
    interpreter: str, start_zygote: StartZygote, start_worker: StartWorker, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "of the server")
    nursery = await start_zygote(runtime_recipe(interpreter, cwd=str(tmp_path)))
    _, talk = await start_worker(nursery)
    facts = await talk.ask("facts")
    assert facts["path"] == say(interpreter, "import sys; print('\\n'.join(sys.path[1:]))").splitlines()
    assert facts["cwd"] == str(tmp_path)


async def test_w18_variables_that_are_not_allowed_are_nowhere(
    interpreter: str, start_zygote: StartZygote, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_SERVER", "hidden")
    nursery = await start_zygote(runtime_recipe(interpreter))
    newborn, talk = await start_worker(nursery)
    environ = (await talk.ask("facts"))["environ"]
    assert {
        name: environ[name] for name in environ if name != "LC_CTYPE"
    } == ENVIRON  # LC_CTYPE is CPython's, for UTF-8
    for pid in (nursery.pid, newborn.pid):
        assert environ_of(pid) == {f"{name}={value}" for name, value in ENVIRON.items()}


async def test_paths_of_our_interpreter_are_not_for_another_one(
    start_zygote: StartZygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/of/the/server")
    monkeypatch.setenv("KEPT", "1")
    nursery = await start_zygote(runtime_recipe(sys.executable, preload="json:dumps", run="json:dumps", environ=None))
    variables = environ_of(nursery.pid)
    assert "KEPT=1" in variables
    assert not [variable for variable in variables if variable.startswith(("PYTHONHOME=", "PYTHONPATH="))]


async def test_workers_of_any_python_are_killed_as_groups(
    interpreter: str, start_zygote: StartZygote, start_worker: StartWorker
) -> None:
    nursery = await start_zygote(runtime_recipe(interpreter))
    newborn, talk = await start_worker(nursery)
    _, other = await start_worker(nursery)
    child = await talk.ask("spawn")
    with watched([newborn.pid, child]) as processes:
        nursery.kill(newborn.pid, signal.SIGKILL)
        assert await end_of(newborn) == Exit(signal=signal.SIGKILL)
        assert processes.left() == []
    assert (await other.ask("facts"))["parent"] == nursery.pid


async def test_memory_limit_ends_only_the_worker_that_wants_more(
    interpreter: str, start_zygote: StartZygote, start_worker: StartWorker
) -> None:
    nursery = await start_zygote(runtime_recipe(interpreter, limits={"AS": 512 << 20}))
    greedy, talk = await start_worker(nursery)
    modest, other = await start_worker(nursery)
    talk.tell("allocate", 1 << 30)
    assert await end_of(greedy) == Exit(code=1)
    assert b"MemoryError" in os.read(greedy.output, 65536)
    assert await other.ask("allocate", 1 << 20) == 1 << 20
    assert not modest.exited.done()


async def test_limits_are_the_workers_and_not_the_zygotes(start_zygote: StartZygote, start_worker: StartWorker) -> None:
    nursery = await start_zygote(runtime_recipe(sys.executable, limits={"NOFILE": 50, "CPU": 3, "CORE": 0}))
    _, talk = await start_worker(nursery)
    assert await talk.ask("limit", "NOFILE") == [50, 50]
    assert await talk.ask("limit", "CPU") == [3, 4]  # SIGXCPU, which says why, and then SIGKILL
    assert await talk.ask("limit", "CORE") == [0, 0]
    with pytest.raises(EOFError):
        await talk.ask("raise_limit", "NOFILE", 51)
    assert nursery.pid is not None
    assert resource.prlimit(nursery.pid, resource.RLIMIT_CPU) == resource.getrlimit(resource.RLIMIT_CPU)


@pytest.mark.parametrize(
    ("limits", "words"), [({"MEMORY": 1}, "there is no limit 'MEMORY'; there are AS, "), ({"AS": -1}, "limit AS is -1")]
)
async def test_limit_that_cannot_be_is_told_at_the_start(limits: dict[str, int], words: str) -> None:
    error = await refused(Nursery(runtime_recipe(sys.executable, limits=limits)))
    assert error.details.metadata["cause"] == "ValueError"
    assert words in error.message


async def test_venv_is_named_by_its_folder(
    tmp_path: Path, start_zygote: StartZygote, start_worker: StartWorker
) -> None:
    say(sys.executable, f"import venv; venv.create({str(tmp_path / 'env')!r})")
    nursery = await start_zygote(runtime_recipe(str(tmp_path / "env")))
    _, talk = await start_worker(nursery)
    assert (await talk.ask("facts"))["prefix"] == str(tmp_path / "env")


async def test_argument_may_be_longer_than_a_packet(start_zygote: StartZygote, start_worker: StartWorker) -> None:
    nursery = await start_zygote(runtime_recipe(sys.executable, argument="ü" * 1_000_000))
    assert (await start_worker(nursery))[1].prepared == [1_000_000, "ü" * 20]


async def test_w02_python_that_is_too_old_says_so(old_interpreter: str) -> None:
    error = await refused(Nursery(runtime_recipe(old_interpreter)))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_START_FAILED")
    assert error.details.metadata["cause"] == "PYTHON_TOO_OLD"
    version = say(old_interpreter, "import sys; print('%d.%d.%d' % sys.version_info[:3])")
    assert f"it needs Python >= 3.9, and this is {version}" in error.message


def bad_interpreter(kind: str, folder: Path) -> Path:
    """The path of something that is no Python."""
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to(folder / "removed")
    elif kind == "locked":
        path.write_text("#!/bin/sh\n")
    elif kind != "missing":
        texts = {
            "text": "no program",
            "lost": "#!/no/such/shell\n",
            "ends": "#!/bin/sh\nexit 3\n",
            "true": "#!/bin/true\n",
        }
        path.write_text(texts.get(kind, f'#!/bin/sh\n{sys.executable} "$@"; exit $?\n'))
        path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "cannot be run: No such file or directory"),
        ("folder", "folder/bin/python cannot be run: No such file or directory"),
        ("dangling", "cannot be run: No such file or directory, it leads to "),
        ("locked", "cannot be run: Permission denied"),
        ("text", "cannot be run: Exec format error"),
        ("lost", "cannot be run: No such file or directory"),
        ("ends", "is that a Python interpreter? It ended with exit code 3"),
        ("true", "is that a Python interpreter? It ended with exit code 0"),
    ],
)
async def test_w02_what_is_no_interpreter_is_told(kind: str, words: str, tmp_path: Path) -> None:
    path = bad_interpreter(kind, tmp_path)
    error = await refused(Nursery(runtime_recipe(str(path))))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_START_FAILED")
    assert error.details.metadata["cause"] == "BAD_INTERPRETER"
    assert words in error.message
    assert f"a process with a plugin on {path} cannot be started" in error.message


async def test_w02_script_that_starts_an_interpreter_is_none(tmp_path: Path) -> None:
    error = await refused(Nursery(runtime_recipe(str(bad_interpreter("script", tmp_path)))))
    assert "the interpreter is a script that starts another one" in error.message


async def test_w02_working_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    error = await refused(Nursery(runtime_recipe(sys.executable, cwd=str(tmp_path / "gone"))))
    assert error.details.metadata["cause"] == "BAD_WORKING_DIRECTORY"
    assert f"it cannot work in {tmp_path / 'gone'}: No such file" in error.message


async def test_interpreter_may_be_a_name_to_look_for(start_zygote: StartZygote, monkeypatch: Any) -> None:
    python = Path(needed("3.11"))
    monkeypatch.setenv("PATH", str(python.parent))
    nursery = await start_zygote(runtime_recipe(python.name))
    assert nursery.version.startswith("3.11.")


RAISES = "class A:\n    def __init__(self): {}['key']\ndef f(_): A()"
OURS = """
from bridge.errors import BridgeError, Code
def f(_): raise BridgeError(Code.NOT_FOUND, "it is lost", reason="LOST")
"""
SCRIBBLES = """
import os, signal
for fd in range(3, 300):
    try: os.write(fd, b"?")
    except OSError: pass
signal.pause()
"""
BROKEN = {
    "module": ("no_such_module:f", "", "ModuleNotFoundError", "No module named 'no_such_module'"),
    "function": ("broken:no_such", "", "AttributeError", "has no attribute 'no_such'"),
    "raises": ("broken:f", RAISES, "KeyError", "KeyError: 'key'"),
    "ours": ("broken:f", OURS, "LOST", "cannot be started: it is lost"),
    "exits": ("broken:f", "import sys\nsys.exit('enough')", "SystemExit", "SystemExit: enough"),
    "segfault": ("broken:f", "import ctypes\nctypes.string_at(0)", "", "signal SIGSEGV (Segmentation fault)"),
    "dies": (
        "broken:f",
        "import os\nos.write(2, b'last words')\nos._exit(0)",
        "",
        "code 0; its last output:\nlast words",
    ),
    "scribbles": ("broken:f", SCRIBBLES, "", "signal SIGKILL"),
    "surrogates": ("broken:f", "raise OSError('caf\\udce9')", "OSError", "OSError: caf\\udce9"),
    "syntax": ("broken:f", "def f(:", "SyntaxError", "invalid syntax"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_w02_start_error_of_another_python_tells_what_the_import_did(kind: str, tmp_path: Path) -> None:
    preload, text, cause, words = BROKEN[kind]
    (tmp_path / "broken.py").write_text(text)
    environ = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    error = await refused(Nursery(runtime_recipe(needed("3.9"), preload=preload, environ=environ)))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_START_FAILED")
    assert error.details.metadata.get("cause", "") == cause
    assert words in error.message
    if kind == "raises":
        assert 'broken.py", line 2, in __init__' in (error.details.debug or "")


def test_w02_start_without_descriptors_left_says_so() -> None:
    """As when the server has no descriptors left."""
    program = (
        "import asyncio, resource, sys\n"
        "from bridge.errors import BridgeError\n"
        "from bridge.worker.nursery import Nursery, adapters_recipe\n"
        "async def main():\n"
        "    nursery = Nursery(adapters_recipe([]))\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (len(__import__('os').listdir('/proc/self/fd')), 50))\n"
        "    try: await nursery.start()\n"
        "    except BridgeError as error: print(error.code.name, error.reason)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "RESOURCE_EXHAUSTED WORKER_START_FAILED\n", done.stderr


async def test_refusals_name_no_interpreter_if_it_is_ours() -> None:
    with pytest.raises(BridgeError, match=r"a process with mine cannot be started"):
        await Nursery(Recipe(preload="nowhere:f", run=OBEY, argument="", about="mine")).start()

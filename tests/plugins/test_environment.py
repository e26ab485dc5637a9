"""Environments are there completely or not at all, whatever happens while they are built."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.plugins.environment import Environment, create, environment_path
from bridge.plugins.installers import Installer, Plan, check_plan
from tests.plugins.wheels import make_wheel
from tests.support.interpreters import needed

UV = shutil.which("uv")
LIMIT = 50.0
"""Seconds that nothing takes."""


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest) -> Installer:
    """Each of them that is here."""
    if request.param == "uv" and UV is None:
        pytest.skip("there is no uv here")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "envs" / "ocr"


@pytest.fixture
def offline(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of an installer that has a folder of wheels and nothing else."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels)
    return ("--no-index", "--find-links", str(wheels))


def build(path: Path, plan: Plan | None = None, *, recreate: bool = False) -> Environment:
    return create(path, plan or Plan(), recreate=recreate, tell=lambda _: None)


def requirements(folder: Path, text: str = "sample-tool==1.0\n") -> Path:
    file = folder / "requirements.txt"
    file.write_text(text, "utf-8")
    return file


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout.strip()


def left_beside(path: Path) -> list[str]:
    """What is in the folder of an environment, but for its lock."""
    return sorted(entry.name for entry in path.parent.iterdir() if entry.suffix != ".lock")


def refusal(code: Code, reason: str, text: str | None = None) -> AbstractContextManager[object]:
    return pytest.raises(BridgeError, match=text, check=lambda error: (error.code, error.reason) == (code, reason))


# What is built


def test_what_is_installed_can_be_imported_and_run(
    path: Path, installer: Installer, offline: tuple[str, ...], tmp_path: Path
) -> None:
    plan = Plan(requirements=(requirements(tmp_path),), extra=offline, installer=installer)
    made = build(path, plan)
    assert (made.path, made.made) == (path, True)
    assert output(path / "bin" / "sample-tool") == "sample 1.0"
    prefix, version = output(
        path / "bin" / "python", "-c", "import sys, sample_tool; print(sys.prefix, sys.version.split()[0])"
    ).split()
    assert prefix == str(path)
    assert made.version == version


def test_packages_can_be_named_without_a_file(path: Path, installer: Installer, offline: tuple[str, ...]) -> None:
    build(path, Plan(extra=(*offline, "sample-tool"), installer=installer))
    assert output(path / "bin" / "sample-tool") == "sample 1.0"


@pytest.mark.skipif(UV is None, reason="there is no uv here")
def test_the_python_can_be_chosen(path: Path) -> None:
    made = build(path, Plan(python=needed("3.9")))
    assert made.version.startswith("3.9.")


def test_the_python_can_be_chosen_without_uv(path: Path) -> None:
    other = needed("3.13" if sys.version_info[:2] != (3, 13) else "3.12")
    made = build(path, Plan(python=other, installer="pip"))
    assert made.version == output(other, "-c", "import platform; print(platform.python_version())")


@pytest.mark.skipif(UV is None, reason="there is no uv here")
def test_a_python_that_plugins_cannot_use_is_refused(path: Path) -> None:
    with refusal(Code.FAILED_PRECONDITION, "ENV_FAILED", "3.9 or newer"):
        build(path, Plan(python=needed("3.8")))
    assert left_beside(path) == []


def hashed(wheels: str, digest: str) -> Plan:
    """The wheel, with a hash that has to be there and right."""
    file = requirements(Path(wheels).parent, f"sample-tool==1.0{digest and f' --hash=sha256:{digest}'}\n")
    return Plan(requirements=(file,), require_hashes=True, extra=("--no-index", "--find-links", wheels))


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_what_has_no_hash_or_another_one_is_not_installed(path: Path, offline: tuple[str, ...], digest: str) -> None:
    with refusal(Code.FAILED_PRECONDITION, "ENV_FAILED"):
        build(path, hashed(offline[-1], digest))
    assert left_beside(path) == []


def test_what_has_the_hash_of_the_requirements_is_installed(path: Path, offline: tuple[str, ...]) -> None:
    wheel = Path(offline[-1]) / "sample_tool-1.0-py3-none-any.whl"
    build(path, hashed(offline[-1], hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert output(path / "bin" / "sample-tool") == "sample 1.0"


@pytest.mark.skipif(UV is None, reason="there is no uv here")
def test_a_lock_of_a_project_is_installed(path: Path, offline: tuple[str, ...]) -> None:
    project = Path(offline[-1]).parent / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "0"\nrequires-python = ">=3.9"\ndependencies = ["sample-tool"]\n'
        "[tool.uv]\npackage = false\n"
        '[tool.uv.sources]\nsample-tool = { path = "../wheels/sample_tool-1.0-py3-none-any.whl" }\n',
        "utf-8",
    )
    subprocess.run([str(UV), "lock", "--offline", "--project", project], check=True, timeout=LIMIT, capture_output=True)
    lock = project / "uv.lock"
    before = lock.read_bytes()
    # What is locked counts, also if the project says something else meanwhile.
    file = project / "pyproject.toml"
    file.write_text(file.read_text("utf-8").replace('["sample-tool"]', '["sample-tool", "no-such-package"]'), "utf-8")
    build(path, Plan(lock=lock, extra=("--offline",)))
    assert output(path / "bin" / "sample-tool") == "sample 1.0"
    assert lock.read_bytes() == before
    assert not (project / ".venv").exists()


@pytest.mark.skipif(UV is None, reason="there is no uv here")
def test_a_pylock_is_installed(path: Path, offline: tuple[str, ...], tmp_path: Path) -> None:
    wheel = Path(offline[-1]) / "sample_tool-1.0-py3-none-any.whl"
    lock = tmp_path / "pylock.ocr.toml"
    lock.write_text(
        'lock-version = "1.0"\ncreated-by = "tests"\n[[packages]]\nname = "sample-tool"\nversion = "1.0"\n'
        f'[[packages.wheels]]\nname = "{wheel.name}"\npath = "wheels/{wheel.name}"\n'
        f'hashes = {{ sha256 = "{hashlib.sha256(wheel.read_bytes()).hexdigest()}" }}\n',
        "utf-8",
    )
    build(path, Plan(lock=lock, extra=("--offline",)))
    assert output(path / "bin" / "sample-tool") == "sample 1.0"


# Once, and again


def test_what_was_made_from_the_same_is_left_as_it_is(path: Path) -> None:
    build(path)
    folder = path.readlink()
    again = build(path)
    assert not again.made
    assert path.readlink() == folder


def test_another_plan_is_not_taken_for_the_same(path: Path, tmp_path: Path, offline: tuple[str, ...]) -> None:
    file = requirements(tmp_path)
    plan = Plan(requirements=(file,), extra=offline)
    build(path, plan)
    assert not build(path, plan).made
    requirements(tmp_path, "sample-tool\n")
    with refusal(Code.ALREADY_EXISTS, "ENV_EXISTS", "--recreate"):
        build(path, plan)


def test_a_damaged_environment_is_not_taken_for_complete(path: Path) -> None:
    build(path)
    (path / "bin" / "python").unlink()
    with refusal(Code.ALREADY_EXISTS, "ENV_EXISTS", "--recreate"):
        build(path)
    assert build(path, recreate=True).made


def test_building_it_again_leaves_nothing_of_the_old_one(path: Path) -> None:
    build(path)
    (path / "mark").write_text("", "utf-8")
    assert build(path, recreate=True).made
    assert not (path / "mark").exists()
    assert left_beside(path) == sorted([path.name, path.readlink().name])


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_is_at_the_path_and_was_not_made_here_is_not_touched(path: Path, tmp_path: Path, kind: str) -> None:
    path.parent.mkdir()
    target = tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine", "utf-8")
    else:
        path.symlink_to(target)
        if kind == "link":
            target.mkdir()
    for recreate in (False, True):
        with refusal(Code.ALREADY_EXISTS, "ENV_EXISTS", "not made by this command"):
            build(path, recreate=recreate)
    assert left_beside(path) == ["ocr"]


def test_the_folders_of_other_environments_are_not_taken_for_leftovers(path: Path) -> None:
    names = [path, path.with_name("ocr.env-abcdefgh"), path.with_name("oc"), path.with_name("ocr2")]
    for one in names:
        build(one)
    for rebuilt in names:
        build(rebuilt, recreate=True)
        assert all((one / "bin" / "python").exists() for one in names)


# When it fails


def test_a_failed_build_leaves_nothing(path: Path, installer: Installer, offline: tuple[str, ...]) -> None:
    with refusal(Code.FAILED_PRECONDITION, "ENV_FAILED", "exit code"):
        build(path, Plan(extra=(*offline, "there-is-no-such-package"), installer=installer))
    assert left_beside(path) == []


def test_a_failed_build_leaves_the_old_one(path: Path, offline: tuple[str, ...]) -> None:
    build(path, Plan(extra=(*offline, "sample-tool")))
    with refusal(Code.FAILED_PRECONDITION, "ENV_FAILED"):
        build(path, Plan(extra=(*offline, "there-is-no-such-package")), recreate=True)
    assert output(path / "bin" / "sample-tool") == "sample 1.0"
    assert left_beside(path) == sorted([path.name, path.readlink().name])


PROGRAM = """
import sys
from pathlib import Path
from bridge.plugins.environment import create
from bridge.plugins.installers import Plan
create(Path(sys.argv[1]), Plan(extra=("--no-index", "-r", sys.argv[2])), tell=lambda _: None)
"""


def interrupt(path: Path, sig: signal.Signals) -> None:
    """Begins to build, and ends all processes of it with a signal while the installer reads its requirements."""
    pipe = path.parents[1] / "requirements.pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", PROGRAM, str(path), str(pipe)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    building = subprocess.Popen(command, env=environ, start_new_session=True, stderr=subprocess.PIPE)
    # Opening the pipe waits for its reader; if that never comes, ending the process group does not help.
    watchdog = threading.Timer(LIMIT, lambda: os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)))
    watchdog.start()
    try:
        with pipe.open("w"):
            watchdog.cancel()
            os.killpg(building.pid, sig)
            building.communicate(timeout=LIMIT)
    finally:
        watchdog.cancel()
        building.kill()
        building.communicate(timeout=LIMIT)


def test_what_a_killed_build_leaves_goes_with_the_next_one(path: Path) -> None:
    interrupt(path, signal.SIGKILL)
    assert not os.path.lexists(path)
    assert len(left_beside(path)) == 1
    # Even if that fails, for want of space perhaps.
    with refusal(Code.FAILED_PRECONDITION, "ENV_FAILED"):
        build(path, Plan(extra=("--no-index", "no-such-package")))
    assert left_beside(path) == []


def test_an_interrupted_build_leaves_nothing(path: Path) -> None:
    interrupt(path, signal.SIGINT)
    assert left_beside(path) == []


def test_of_two_at_the_same_time_one_builds_and_both_have_it(path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = [one.result(LIMIT) for one in [pool.submit(build, path) for _ in range(2)]]
    assert sorted(one.made for one in made) == [False, True]


# What is refused before anything runs


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (Plan(requirements=(Path("r.txt"),), lock=Path("uv.lock")), "lock"),
        (Plan(lock=Path("poetry.lock")), "lock"),
        (Plan(lock=Path("uv.lock"), installer="pip"), "lock"),
        (Plan(python="--help"), "python"),
        (Plan(python="1.9", installer="pip"), "python"),
        (Plan(python="/no/such/python", installer="pip"), "python"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_the_field(plan: Plan, field: str) -> None:
    with pytest.raises(BridgeError) as caught:
        check_plan(plan)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == [field]


def test_uv_that_is_asked_for_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for plan in (Plan(installer="uv"), Plan(lock=Path("uv.lock"))):
        with pytest.raises(BridgeError, match="uv"):
            check_plan(plan)


def test_requirements_that_are_not_there_are_named(path: Path, tmp_path: Path) -> None:
    with refusal(Code.INVALID_ARGUMENT, "REQUIREMENTS", "none.txt"):
        build(path, Plan(requirements=(tmp_path / "none.txt",)))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with refusal(Code.FAILED_PRECONDITION, "FILE_NOT_WRITTEN", "file"):
        build(tmp_path / "file" / "env")


def test_a_name_stands_for_a_folder_of_the_user_and_a_path_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"XDG_DATA_HOME": "/data"}
    assert environment_path("ocr", environ) == Path("/data/bridge/envs/ocr")
    assert environment_path("./env", environ) == tmp_path / "env"
    assert environment_path("/opt/../env", environ) == Path("/env")
    for name in ("..", "", "-r", ".hidden", "a b"):
        with pytest.raises(BridgeError):
            environment_path(name, environ)


def test_the_lock_of_a_build_changes_no_file_that_it_is_a_link_to(path: Path) -> None:
    path.parent.mkdir()
    other = path.parent / "other"
    other.write_text("precious")
    path.with_name(f".{path.name}.lock").symlink_to(other)
    build(path, Plan(installer="pip"))
    assert other.read_text() == "precious"

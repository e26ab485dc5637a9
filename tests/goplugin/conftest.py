"""Hosts and plugins that others have made."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

from tests.goplugin.certificates import static_tls_flags
from tests.goplugin.go_host import GoHost, go_host
from tests.goplugin.pyvider_install import Pyvider, make_pyvider
from tests.goplugin.ways import WAYS, Run, Way, runs_in
from tests.support import go_programs

RunGoHost = Callable[..., AbstractAsyncContextManager[GoHost]]
"""``run_go_host(command, *flags)``: a Go host for a plugin's command; flags as host/settings.go has them."""

_MAKERS: Mapping[str, Callable[[], object]] = {
    "go_plugin": lambda: go_programs.build("plugin"),
    "run_go_host": lambda: go_programs.build("host"),
    "pyvider": make_pyvider,
}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Makes what tests need before the first one begins: the time a test may take is not for compilers."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    for name in sorted(wanted & _MAKERS.keys()):
        with suppress(pytest.skip.Exception, AssertionError):  # the fixture says it
            _MAKERS[name]()


@pytest.fixture(scope="session", autouse=True)
def _sockets_go_with_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What killed plugins, and multiplexed ones in Go, leave behind does not stay. The folder's name is short, as paths
    of sockets have to be."""
    tmp_path_factory.getbasetemp()  # stays where it is
    with (
        tempfile.TemporaryDirectory(prefix="gp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="session")
def go_plugin() -> Path:
    """A plugin of go-plugin that behaves as its flags say (plugin/main.go)."""
    return go_programs.build("plugin")


@pytest.fixture(scope="session")
def run_go_host() -> RunGoHost:
    """Runs a host of go-plugin."""
    program = go_programs.build("host")

    def run(
        command: list[str | Path], *flags: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> AbstractAsyncContextManager[GoHost]:
        return go_host([program, *flags, "--", *command], env=env, cwd=cwd)

    return run


@pytest.fixture(scope="session")
def pyvider() -> Pyvider:
    """What the other implementation in Python runs with."""
    return make_pyvider()


@pytest.fixture(scope="session")
def static_tls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags, the same for host and plugin, with which they show each other certificates of one authority."""
    return static_tls_flags(tmp_path_factory.mktemp("static-tls"))


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to connect host and plugin."""
    assert isinstance(request.param, Way)
    return request.param


@pytest.fixture
def run_ours(way: Way, run_go_host: RunGoHost, static_tls: list[str]) -> Run:
    """A Go host with a plugin of ours, in each way."""
    return runs_in(way, run_go_host, static_tls)


@pytest.fixture
def run_plain(run_go_host: RunGoHost) -> Run:
    """The same, in the simplest way."""
    return runs_in(WAYS[0], run_go_host, ())

"""Scripts of plugins as people write them, also not so well."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from bridge.goplugin.serving.lifetime import FORCED_EXIT
from tests.goplugin.raw_plugin import raw_plugin
from tests.goplugin.ways import SECONDS

BEGIN = """\
    import atexit, multiprocessing, os, threading
    from bridge.errors import BridgeError, Code
    from bridge.goplugin import HandshakeConfig, Plugin, protect_stdout, serve

    HANDSHAKE = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")

    class Empty(Plugin):
        def register(self, server, broker): ...

    def work():
        print("printed by a worker", flush=True)
        os._exit(0)

    class Employer(Empty):
        async def open(self, broker):
            worker = multiprocessing.get_context("spawn").Process(target=work, daemon=True)
            worker.start()
            worker.join(10)
            print("the worker ended with", worker.exitcode)
            raise BridgeError(Code.UNAVAILABLE, "that is all")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


async def ends(script: Path, end: str, *, stop: bool = False) -> tuple[int, str]:
    """Exit code and stderr of a script."""
    script.write_text(textwrap.dedent(BEGIN) + textwrap.dedent(end))  # noqa: ASYNC240 - nothing else is to run
    async with asyncio.timeout(SECONDS), raw_plugin(command=[sys.executable, str(script)]) as plugin:
        if stop:
            assert plugin.line.startswith("1|1|unix|")
            plugin.process.send_signal(signal.SIGTERM)
        code, _, said = await plugin.rest()
        assert not list(plugin.folder.iterdir())
    return code, said


@pytest.mark.parametrize(
    "keeper",
    ["threading.Thread(target=threading.Event().wait).start()", "atexit.register(threading.Event().wait)"],
    ids=["a thread", "a function at exit"],
)
async def test_what_would_run_for_ever_does_not_keep_the_process(script: Path, keeper: str) -> None:
    code, said = await ends(script, f"{keeper}\nserve(handshake=HANDSHAKE, plugins={{'a': Empty()}})", stop=True)
    assert code == FORCED_EXIT
    assert said == "[ERROR] bridge: the plugin did not end in time; it is ended by force\n"


async def test_what_comes_after_serve_is_run(script: Path) -> None:
    after = "serve(handshake=HANDSHAKE, plugins={'a': Empty()})\nos.write(2, b'after')"
    assert await ends(script, after, stop=True) == (0, "after")


async def test_a_plugin_that_could_not_be_opened_is_not_closed(script: Path) -> None:
    code, said = await ends(
        script,
        """
        class Broken(Empty):
            async def open(self, broker):
                raise BridgeError(Code.UNAVAILABLE, "there is no database")
            async def aclose(self):
                self.database.close()

        serve(handshake=HANDSHAKE, plugins={"a": Broken()})
        """,
    )
    assert code == 1
    assert said.endswith("the plugin cannot be served: there is no database\n")
    assert "Traceback" not in said


async def test_a_worker_process_that_imports_the_script_does_not_serve(script: Path) -> None:
    code, said = await ends(script, "serve(handshake=HANDSHAKE, plugins={'a': Employer()})")
    assert code == 1
    assert "call `serve` under `if __name__" in said
    assert "the worker ended with 1\n" in said


async def test_what_a_worker_process_prints_is_output_of_the_plugin(script: Path) -> None:
    end = "protect_stdout()\nif __name__ == '__main__': serve(handshake=HANDSHAKE, plugins={'a': Employer()})"
    code, said = await ends(script, end)
    assert code == 1
    assert said.startswith("printed by a worker\nthe worker ended with 0\n")


async def test_a_second_wish_to_end_finds_the_output_flushed(script: Path) -> None:
    code, said = await ends(
        script,
        """
        import asyncio
        from bridge.goplugin.output.stdio import Stdio

        async def main():
            stdio = Stdio()
            stdio.start()
            await stdio.stop(0)
            assert await stdio.flush()
            stdio.close()

        asyncio.run(main())
        """,
    )
    assert (code, said) == (0, "")


async def test_a_child_has_a_stdin_where_the_plugin_was_started_without(script: Path) -> None:
    look = "import subprocess\nos._exit(subprocess.run(['test', '-e', '/proc/self/fd/0']).returncode)"
    assert await ends(script, f"os.close(0)\nprotect_stdout()\n{look}") == (0, "")


async def test_handlers_of_the_author_get_no_less_when_the_host_is_to_see_errors_only(script: Path) -> None:
    code, said = await ends(
        script,
        """
        import logging

        class Logging(Empty):
            async def open(self, broker):
                raise BridgeError(Code.UNAVAILABLE, logging.getLevelName(logging.getLogger().level))

        serve(handshake=HANDSHAKE, plugins={"a": Logging()}, log_level="error")
        """,
    )
    assert code == 1
    assert said.endswith(": WARNING\n")

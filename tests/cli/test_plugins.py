"""``bridge plugins``: from a file and an interpreter to a plugin that is served."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import Done, running
from tests.support.interpreters import interpreter  # noqa: F401 - a fixture

DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"

OCR = '''
import os
import sys
from bridge import Adapter, tool

print("importing", os.environ.get("TOKEN", "no token"))

class Ocr(Adapter):
    @tool
    def words(self, text: str, least: int = 1) -> list:
        """The words of a text."""
        return [word for word in text.split() if len(word) >= least]

    @tool
    def where(self) -> dict:
        return {"python": list(sys.version_info[:2]), "folder": os.getcwd(), "pid": os.getpid()}
'''


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def plugin(folder: Path, more: str = "", name: str = "ocr") -> Path:
    """A manifest with an adapter beside it."""
    write(folder / "ocr.py", OCR)
    return write(folder / f"{name}.toml", f'name = "{name}"\nversion = "1.2"\nadapter = "ocr.py:Ocr"\n{more}')


def children() -> set[str]:
    """Processes that we have started and that are still there."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text("ascii").split())


# check


def test_check_says_what_a_plugin_has_in_any_python(run: Command, tmp_path: Path, interpreter: str) -> None:  # noqa: F811
    before = children()
    done = run("plugins", "check", plugin(tmp_path, f'python = "{interpreter}"\n'), "--json-output")
    assert done.code == 0, done.err
    document = done.document
    assert [tool["name"] for tool in document["tools"]] == ["where", "words"]
    (words,) = [tool for tool in document["tools"] if tool["name"] == "words"]
    assert set(words["input_schema"]["properties"]) == {"text", "least"}
    assert document["python"] == interpreter
    assert re.fullmatch(r"3\.\d+\.\d+.*", document["python_version"])
    assert document["output"] == ["importing no token"]
    assert document["rss_bytes"] > 0
    assert document["start_seconds"] > 0
    assert children() == before


def test_check_is_for_people_too(run: Command, tmp_path: Path) -> None:
    done = run("plugins", "check", plugin(tmp_path))
    assert done.code == 0
    assert "text, [least]" in done.out
    assert "The words of a text." in done.out
    assert re.search(r"ocr 1\.2 works: Python 3\.\d+\.\d+", done.out)
    assert "it printed: importing" in done.err


def test_check_shows_no_value_of_a_variable(run: Command, tmp_path: Path) -> None:
    manifest = plugin(tmp_path, '[env.set]\nTOKEN = "hunter2"\nQUIET = "hunter3"\n')
    write(tmp_path / "ocr.py", OCR.replace('os.environ.get("TOKEN", "no token")', '"TOKEN" in os.environ'))
    done = run("plugins", "check", manifest)
    assert done.code == 0
    assert "importing True" in done.err
    assert "hunter" not in done.out + done.err


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("class Ocr(", "class Other(", "no class 'Ocr'"),
        ("import os\n", "import os\nraise RuntimeError('broken')\n", "broken"),
        ("import os\n", "import sys\nsys.exit(7)\n", "SystemExit"),
        ("import os\n", "import os\nos._exit(7)\n", "exit code 7"),
        ("import os\n", "import os\nos.kill(os.getpid(), 11)\n", "SIGSEGV"),
    ],
)
def test_check_of_what_cannot_start_fails_with_the_cause(
    run: Command, tmp_path: Path, old: str, new: str, expected: str
) -> None:
    before = children()
    manifest = plugin(tmp_path)
    write(tmp_path / "ocr.py", OCR.replace(old, new, 1))
    done = run("plugins", "check", manifest)
    assert done.code == ExitCode.ADAPTER
    assert expected in done.err
    assert "plugin ocr" in done.err
    assert children() == before


def test_check_of_a_manifest_that_is_wrong_is_wrong_usage(run: Command, tmp_path: Path) -> None:
    done = run("plugins", "check", plugin(tmp_path, f'python = "{tmp_path}/env"\n'))
    assert done.code == ExitCode.USAGE
    assert f"bridge env create {tmp_path}/env" in done.err


# The folder of plugins


@pytest.fixture
def plugins(run: Command, tmp_path: Path) -> Command:
    """``bridge plugins`` with a folder of its own."""

    def command(name: str, *arguments: str | Path) -> Done:
        return run("plugins", name, *arguments, "--plugins-dir", tmp_path / "plugins")

    return command


def test_a_plugin_that_was_added_is_known_by_its_name(run: Command, plugins: Command, tmp_path: Path) -> None:
    added = plugins("add", plugin(tmp_path, "path = ['.']\n"))
    assert added.code == 0, added.err
    assert "words" in added.out
    target = tmp_path / "plugins" / "ocr.toml"
    assert f"bridge serve {target}" in added.out
    assert target.parent.stat().st_mode & 0o777 == 0o700
    (listed,) = plugins("ls", "--json-output").document["plugins"]
    assert (listed["name"], listed["version"], listed["manifest"]) == ("ocr", "1.2", str(target))
    assert "1.2" in plugins("ls").out  # the rest may be folded: paths can be long
    assert plugins("check", "ocr").code == 0
    shown = run("manifest", "show", "ocr", "--plugins-dir", target.parent)
    assert f'path = ["{tmp_path}"]' in shown.out


def test_a_plugin_that_does_not_start_is_not_added(plugins: Command, tmp_path: Path) -> None:
    manifest = plugin(tmp_path)
    write(tmp_path / "ocr.py", "raise RuntimeError('broken')\n")
    done = plugins("add", manifest)
    assert done.code == ExitCode.ADAPTER
    assert "broken" in done.err
    assert not (tmp_path / "plugins").exists()
    assert plugins("add", manifest, "--no-check").code == 0


def test_adding_again_needs_to_be_asked_for(plugins: Command, tmp_path: Path) -> None:
    manifest = plugin(tmp_path)
    assert plugins("add", manifest, "--no-check").code == 0
    again = plugins("add", manifest, "--no-check")
    assert again.code == ExitCode.FAILED
    assert "--force" in again.err
    assert plugins("add", manifest, "--no-check", "--force").code == 0


def test_what_is_rejected_is_reported_on_stderr_and_in_json(plugins: Command, tmp_path: Path) -> None:
    assert plugins("add", plugin(tmp_path), "--no-check").code == 0
    bad = write(tmp_path / "plugins" / "bad.toml", 'name = "bad"\nadapter = "a:B"\nfoo = 1\n')
    done = plugins("ls")
    assert done.code == 0
    assert "ocr" in done.out
    assert f"rejected: {bad}: foo" in done.err
    (rejected,) = plugins("ls", "--json-output").document["rejected"]
    assert rejected["file"] == str(bad)


def test_a_removed_plugin_is_gone(plugins: Command, tmp_path: Path) -> None:
    assert plugins("add", plugin(tmp_path), "--no-check").code == 0
    assert plugins("rm", "ocr").out == f"removed {tmp_path}/plugins/ocr.toml\n"
    assert "There are no plugins" in plugins("ls").out
    gone = plugins("rm", "ocr")
    assert gone.code == ExitCode.FAILED
    assert "no plugin 'ocr'" in gone.err


def test_the_folder_can_be_named_by_a_variable_that_servers_leave_alone(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_PLUGINS_DIR", str(tmp_path / "mine"))
    assert run("plugins", "add", plugin(tmp_path), "--no-check").code == 0
    assert (tmp_path / "mine" / "ocr.toml").exists()
    assert not [one for one in run("doctor", "--json-output").document["findings"] if "PLUGINS_DIR" in one["text"]]


# What it gets of the server


def test_w18_a_variable_of_the_server_is_not_in_the_environment_of_a_plugin(run: Command, tmp_path: Path) -> None:
    code = """
        from bridge import Adapter, tool

        class Names(Adapter):
            @tool
            def names(self, pid: str) -> list:
                with open(f"/proc/{pid}/environ") as file:
                    return [entry.partition("=")[0] for entry in file.read().split("\\0") if entry]

            @tool
            def parent(self) -> str:
                import os
                return str(os.getppid())
    """
    write(tmp_path / "names.py", textwrap.dedent(code))
    env = '[env]\nallow = ["ALLOWED"]\nset = { OWN = "1" }\n'
    file = write(tmp_path / "names.toml", f'name = "names"\nadapter = "names.py:Names"\n{env}')
    given = {"SECRET_KEY": "x", "ALLOWED": "x", "LC_ALL": "C.UTF-8"}
    with running("serve", file, "--listen", "127.0.0.1:0", cwd=tmp_path, **given) as server:
        target = ("--target", server.address(), "--json-output")
        zygote = run("call", "parent", *target).document
        for pid in ("self", zygote):
            names = set(run("call", "names", f"pid={pid}", *target).document)
            assert {"ALLOWED", "OWN", "LC_ALL", "PATH"} <= names
            assert not names & {"SECRET_KEY", "PYTHONPATH", "NO_COLOR"}


# As the documentation has it


def test_the_first_plugin_of_the_documentation_can_be_served(run: Command, tmp_path: Path) -> None:
    text = DOCS.read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    manifest = re.search(r"```toml\n(bridge_manifest.*?)```", text, re.DOTALL)
    assert code is not None
    assert manifest is not None
    line = run("env", "create", "./env").out
    write(tmp_path / "ocr.py", code[1])
    file = write(tmp_path / "ocr.toml", re.sub(r"python = .*\n", line, manifest[1]))
    assert run("plugins", "check", file).code == 0
    with running("serve", file, "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        done = run("call", "words", "text=to be or not", "least=3", "--target", server.address(), "--json-output")
        assert done.document == ["not"], done.err

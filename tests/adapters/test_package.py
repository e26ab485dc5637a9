"""The showcase as a package: small, complete, and the same under the name that the wheel gives it."""

import subprocess
import sys
from pathlib import Path

import adapters.showcase
from bridge.adapter import inspect_adapter

FOLDER = Path(adapters.showcase.__file__).parent
ROOT = FOLDER.parents[1]


def test_every_listed_adapter_has_tools_and_no_two_share_a_name() -> None:
    names = [
        tool
        for adapter in adapters.showcase.__all__
        for tool in inspect_adapter(getattr(adapters.showcase, adapter)).tools
    ]
    assert len(names) == len(set(names))


def test_every_tool_says_what_it_does() -> None:
    for adapter in adapters.showcase.__all__:
        for tool in inspect_adapter(getattr(adapters.showcase, adapter)).tools.values():
            assert tool.description, tool.name


def test_files_stay_small() -> None:
    assert all(len(file.read_text().splitlines()) < 80 for file in FOLDER.glob("*.py"))
    assert sum(file.stat().st_size for file in (FOLDER / "data").iterdir()) < 200_000


def test_package_works_under_another_name_and_without_numpy(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(FOLDER, target_is_directory=True)
    program = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}, {str(ROOT / "clients/python")!r}]
sys.modules["numpy"] = None  # makes importing it fail
import elsewhere
from elsewhere.table import elements
assert elsewhere.TextTools.__module__ == "elsewhere.text"
assert len(elements()) == 118
assert len(elsewhere.TextTools().concordance("summer's")) == 5
try:
    elsewhere.ArrayTools
except ImportError:
    pass
else:
    raise AssertionError("ArrayTools came without NumPy")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr

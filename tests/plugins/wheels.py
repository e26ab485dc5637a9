"""A wheel to install without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

__all__ = ["make_wheel"]

FILES = {
    "sample_tool.py": 'def main():\n    print("sample", "1.0")\n',
    "sample_tool-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sample-tool\nVersion: 1.0\n",
    "sample_tool-1.0.dist-info/WHEEL": (
        "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ),
    "sample_tool-1.0.dist-info/entry_points.txt": "[console_scripts]\nsample-tool = sample_tool:main\n",
}


def make_wheel(folder: Path) -> Path:
    """Writes ``sample-tool`` 1.0, a module and a script; made anew it has the same hash."""
    path = folder / "sample_tool-1.0-py3-none-any.whl"
    record = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in FILES.items()]
    files = {
        **FILES,
        "sample_tool-1.0.dist-info/RECORD": "\n".join([*record, "sample_tool-1.0.dist-info/RECORD,,", ""]),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()

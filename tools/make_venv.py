"""Makes a virtual environment with pip, also where Python came without ``ensurepip``.

Debian ships ``python3`` without it (package ``python3-venv``). Then pip's own wheel, which can run itself, is fetched
from the package index that pip would use, checked by its hash, and told to install itself.

    python3 tools/make_venv.py .venv
"""

from __future__ import annotations

import hashlib
import html.parser
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
TIMEOUT = 60.0


class _Links(html.parser.HTMLParser):
    """The links of a project's page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "a" and attributes.get("href") and "data-yanked" not in attributes:
            self.found.append(str(attributes["href"]))


def _get(url: str) -> bytes:
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    request = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310 - the index is https
    with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:  # noqa: S310 - as above
        content: bytes = answer.read()
    return content


def _newest_pip() -> tuple[str, str]:
    """Address and SHA-256 of the newest wheel of pip that is no pre-release."""
    page = f"{INDEX}/pip/"
    links = _Links()
    links.feed(_get(page).decode())
    wheels = []
    for link in links.found:
        match = re.search(r"/pip-(\d+(?:\.\d+)+)-py3-none-any\.whl#sha256=([0-9a-f]{64})$", link)
        if match:
            version = tuple(int(part) for part in match[1].split("."))
            wheels.append((version, urllib.parse.urljoin(page, link.partition("#")[0]), match[2]))
    if not wheels:
        raise SystemExit(f"{page} lists no wheel of pip; on Debian: apt-get install python3-venv")
    _, url, digest = max(wheels)
    return url, digest


def _install_pip(python: Path) -> None:
    url, digest = _newest_pip()
    wheel = _get(url)
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise SystemExit(f"{url} is not what the index says it is")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / url.rpartition("/")[2]
        path.write_bytes(wheel)
        subprocess.run([python, path / "pip", "install", "--quiet", "--no-index", path], check=True)  # noqa: S603


def main() -> None:
    """Makes the environment named on the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - to say so is what this line is for
        sys.exit(
            f"tool-bridge needs Python 3.11 or later, and this is {sys.version.split()[0]}: make PYTHON=python3.13"
        )
    target = Path(sys.argv[1])
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    venv.create(target, with_pip=has_ensurepip, symlinks=True)
    if not has_ensurepip:
        _install_pip(target / "bin" / "python")


if __name__ == "__main__":
    main()

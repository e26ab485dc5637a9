"""``bridge doctor``: looks at everything a server needs and says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from bridge.cli import output
from bridge.cli.checks import (
    Finding,
    check_adapters,
    check_addresses,
    check_host,
    check_installation,
    check_security,
    check_store,
)
from bridge.cli.exit_codes import ExitCode
from bridge.cli.options import Debug, JsonOutput
from bridge.cli.problems import printable
from bridge.cli.serve import import_from_current_folder
from bridge.config import Settled, settle
from bridge.errors import BridgeError

__all__ = ["doctor"]

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}

# typer knows Optional in all the versions we support.
_Adapters = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(metavar="ADAPTER", help="Adapters to load, beside those configured.", show_default=False),
]
_File = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--config", metavar="FILE", help="TOML file with settings.", show_default="bridge.toml, if any"),
]


def doctor(
    adapters: _Adapters = None, config: _File = None, json_output: JsonOutput = False, debug: Debug = False
) -> int:
    """Check the installation, the configuration, the addresses and the adapters; exit code 1 if something is wrong."""
    import_from_current_folder()
    findings = list(check_installation())
    settled = _settle(None if config is None else Path(config), adapters or [], findings)
    if settled is not None:
        server = settled.config
        findings += check_security(server)
        findings += asyncio.run(check_addresses(server))
        findings += asyncio.run(check_host(server))
        findings += asyncio.run(check_store(server))
        findings += check_adapters(server.adapters)
    if json_output:
        output.show_json(_document(findings, settled))
    else:
        _show(findings, settled)
    return ExitCode.FAILED if any(finding.status == "problem" for finding in findings) else ExitCode.OK


def _settle(file: Path | None, adapters: list[str], findings: list[Finding]) -> Settled | None:
    try:
        settled = settle(file, os.environ, {"adapters": adapters})
    except BridgeError as error:
        for violation in error.violations:
            text = f"{violation.field}: {violation.description}"
            findings.append(Finding("configuration", "problem", text, "docs/configuration.md has every setting"))
        return None
    findings.append(Finding("configuration", "ok", "every setting has a value that it may have"))
    return settled


def _document(findings: list[Finding], settled: Settled | None) -> dict[str, Any]:
    return {
        "ok": all(finding.status != "problem" for finding in findings),
        "findings": [{"area": f.area, "status": f.status, "text": f.text, "advice": f.advice} for f in findings],
        "configuration": [
            {"key": key, "value": value, "source": source}
            for key, value, source, _ in (settled.describe() if settled is not None else ())
        ],
    }


def _show(findings: list[Finding], settled: Settled | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A pipe has no width of its own, and what is cut off there is lost.
    console = Console(width=None if sys.stdout.isatty() else 200)
    if settled is not None:
        table = Table("Setting", "Value", "From", title="Configuration", title_justify="left")
        for key, value, source, _ in settled.describe():
            table.add_row(*(Text(printable(cell)) for cell in (key, value, source)))
        console.print(table)
    for finding in findings:
        mark = Text(f"{finding.status:<8}", style=_STYLES[finding.status])
        console.print(mark, Text(f"{finding.area}: {printable(finding.text)}"), soft_wrap=True)
        if finding.advice:
            console.print(Text(f"         -> {printable(finding.advice)}"), soft_wrap=True)
    problems = sum(finding.status == "problem" for finding in findings)
    verdict = (
        Text("nothing is wrong", style="green") if not problems else Text(f"{problems} problems", style="bold red")
    )
    console.print(verdict)

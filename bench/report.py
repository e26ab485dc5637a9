"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Row
from bench.run import Table
from bench.startup import Start

__all__ = ["as_dict", "format_columns", "format_machine", "format_startup", "format_table", "save"]


def format_columns(lines: Sequence[Sequence[str]]) -> str:
    """Text in columns: the first to the left, the others to the right; the first line is the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    out = []
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(cells).rstrip())
        if number == 0:
            out.append("  ".join("-" * width for width in widths))
    return "\n".join(out)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _line(row: Row, unit_bytes: int, latency: bool, host: bool) -> list[str]:
    spread = f"{row.cpu_ratio_low:.2f}-{row.cpu_ratio_high:.2f}"
    line = [
        row.label,
        _number(row.cpu_us),
        f"{row.cpu_ratio:.2f}x",
        spread,
        f"{row.rate:,.0f}",
        f"{row.rate_ratio:.2f}x",
    ]
    if unit_bytes:
        line.append(_number(row.rate * unit_bytes / 1e6))
    if latency:
        line += [f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}"]
    if host:
        line.append(_number(row.host_cpu_us))
    return [*line, str(row.reply_bytes)] if row.reply_bytes else line


def format_table(table: Table) -> str:
    """One table, plain text."""
    group = table.group
    host, latency = any(row.host_cpu_us for row in table.rows), any(row.p99_ms for row in table.rows)
    head = ["", f"CPU us/{group.unit}", "ratio", "(rounds)", f"{group.unit}s/s", "ratio"]
    head += ["MB/s"] if group.unit_bytes else []
    head += ["p50 ms", "p99 ms"] if latency else []
    head += [f"{group.beside} CPU us"] if host else []
    head += ["reply B"] if table.rows[0].reply_bytes else []
    lines = [head, *(_line(row, group.unit_bytes, latency, host) for row in table.rows)]
    return f"{group.title}; {table.in_flight} in flight\n\n{format_columns(lines)}\n"


def format_machine(facts: Mapping[str, object]) -> str:
    """The head of a report."""
    words = {
        name: ", ".join(f"{k} {v}" for k, v in fact.items()) if isinstance(fact, dict) else fact
        for name, fact in facts.items()
    }
    return (
        "\n".join(
            f"{name.replace('_', ' '):14}{', '.join(fact) if isinstance(fact, list) else fact}"
            for name, fact in words.items()
        )
        + "\n"
    )


def format_startup(rows: Sequence[Start]) -> str:
    """The start-up table, plain text."""
    lines = [["", "ms", "ratio", "CPU ms"]]
    lines += [[row.label, f"{row.wall_ms:.0f}", f"{row.wall_ratio:.2f}x", f"{row.cpu_ms:.0f}"] for row in rows]
    return f"Start-up: time of the import, or from exec to ready\n\n{format_columns(lines)}\n"


def as_dict(
    machine: Mapping[str, object],
    options: Mapping[str, object],
    tables: Sequence[Table],
    startup: Sequence[Start],
    skipped: Mapping[str, str],
    stalls: Sequence[str],
    targets: Sequence[Mapping[str, object]],
) -> dict[str, Any]:
    """The whole run as JSON can carry it."""
    return {
        "machine": dict(machine),
        "options": dict(options),
        "tables": [
            {
                "group": table.group.key,
                "title": table.group.title,
                "unit": table.group.unit,
                "unit_bytes": table.group.unit_bytes,
                "in_flight": table.in_flight,
                "rows": [asdict(row) for row in table.rows],
            }
            for table in tables
        ],
        "startup": [asdict(row) for row in startup],
        "skipped": dict(skipped),
        "stalls": list(stalls),
        "targets": list(targets),
    }


def save(report: Mapping[str, Any], path: Path) -> None:
    """Writes the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")

"""Draws a saved run. ``python bench/plot.py REPORT.json PICTURE.png``; needs matplotlib and nothing of ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


def _panel(axes: Any, tables: list[dict[str, Any]]) -> None:
    """One group: a bar of CPU over bare per row and number of calls in flight."""
    labels = [row["label"] for row in tables[0]["rows"]]
    height = 0.8 / len(tables)
    for number, table in enumerate(tables):
        values = [row["cpu_ratio"] for row in table["rows"]]
        errors = [
            [row["cpu_ratio"] - row["cpu_ratio_low"] for row in table["rows"]],
            [row["cpu_ratio_high"] - row["cpu_ratio"] for row in table["rows"]],
        ]
        places = [index + (number - (len(tables) - 1) / 2) * height for index in range(len(labels))]
        style = {"elinewidth": 0.8, "ecolor": "0.4"}
        axes.barh(places, values, height * 0.92, xerr=errors, error_kw=style, label=f"{table['in_flight']} in flight")
        for place, value in zip(places, values, strict=True):
            axes.text(value, place, f" {value:.2f}", va="center", fontsize=7)
    axes.axvline(1.0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(tables[0]["title"], fontsize=10, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw(report: dict[str, Any], path: Path) -> None:
    """Draws CPU per call over the reference, one panel per group."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for table in report["tables"]:
        groups.setdefault(table["group"], []).append(table)
    rows = [len(tables[0]["rows"]) for tables in groups.values()]
    size = (9, 1.2 + sum(0.9 + 0.36 * count for count in rows))
    figure, panels = plt.subplots(len(groups), 1, figsize=size, squeeze=False, height_ratios=[c + 1.5 for c in rows])
    for axes, tables in zip(panels[:, 0], groups.values(), strict=True):
        _panel(axes, tables)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, 0].legend(handles, labels, fontsize=8, frameon=False, loc="lower right", ncols=3, bbox_to_anchor=(1, 1))
    panels[-1, 0].set_xlabel(
        "CPU per call or message over the first row of the panel, same round (line: range of rounds)"
    )
    machine = report["machine"]
    figure.suptitle(
        f"{machine['processor']}, {machine['cores']} cores, {machine['python']}, {machine['time']}", fontsize=8
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / size[1]))
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

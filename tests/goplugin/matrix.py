"""Every host with every plugin in every way: what is expected of it.

``python -m tests.goplugin.matrix`` tries it all, and writes the table in docs/goplugin.md.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.goplugin.certificates import static_tls_flags
from tests.goplugin.matrix_run import COLUMNS, COMBINATIONS, Combination, Programs, try_all
from tests.goplugin.pyvider_install import VERSION, make_pyvider
from tests.support import go_programs

__all__ = ["LIMITS", "MARKERS", "PAGE", "Limit", "differences", "limit_of", "table"]

PAGE = Path(__file__).parents[2] / "docs" / "goplugin.md"
MARKERS = ("<!-- matrix -->", "<!-- /matrix -->")
"""Around the table."""
AT_ONCE = 2
"""Combinations."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody cannot do."""

    why: str
    """In a line, for the page."""
    shows: str
    """Regular expression that the failure matches."""
    columns: tuple[str, ...] = COLUMNS
    hosts: tuple[str, ...] = ("Go", "ours", "pyvider")
    plugins: tuple[str, ...] = ("Go", "ours", "pyvider")
    tls: tuple[str, ...] = ("plain", "AutoMTLS", "static TLS")
    multiplexed: tuple[bool, ...] = (False, True)

    def applies(self, combination: Combination, column: str) -> bool:
        """Whether it does to a cell."""
        return (
            column in self.columns
            and combination.host in self.hosts
            and combination.plugin in self.plugins
            and combination.way.tls in self.tls
            and combination.way.multiplexed in self.multiplexed
        )


LIMITS = (
    Limit(
        why="pyvider's host has no multiplexing, and refuses the handshake line of a plugin that knows of it",
        shows="Expected 6 pipe-separated parts, got 7|was asked to multiplex, and does not",
        hosts=("pyvider",),
        multiplexed=(True,),
    ),
    Limit(
        why="pyvider's plugins have no multiplexing, and the host ends them",
        shows="client requested gRPC broker multiplexing but plugin does not support the feature",
        plugins=("pyvider",),
        multiplexed=(True,),
    ),
    Limit(
        why="pyvider's host cannot verify the certificates that go-plugin makes (ECDSA P-521): it uses grpcio's TLS",
        shows="failed to become ready",
        hosts=("pyvider",),
        plugins=("Go",),
        tls=("AutoMTLS",),
    ),
    Limit(
        why="pyvider's host speaks TLS only if the plugin's certificate stands in the handshake line, and a static one "
        "does not",
        shows="failed to become ready",
        hosts=("pyvider",),
        plugins=("Go", "ours"),
        tls=("static TLS",),
    ),
    Limit(
        why="pyvider's host has no broker: it only exchanges the messages",
        shows="this host has no step 'count'",
        columns=("broker",),
        hosts=("pyvider",),
    ),
    Limit(
        why="pyvider's host logs what a plugin prints, as text, and gives it to nobody",
        shows="^of 120 and 20 bytes the host has got",
        columns=("stdio",),
        hosts=("pyvider",),
    ),
    Limit(
        why="pyvider's host takes messages of 4 MiB at most, and heeds no setting of its own for more",
        shows=r"Received message larger than max \(\d+ vs\. 4194304\)",
        columns=("64 MB",),
        hosts=("pyvider",),
    ),
    Limit(
        why="pyvider's plugins have no broker: it is simulated",
        shows="^Unimplemented: ",
        columns=("broker",),
        plugins=("pyvider",),
    ),
    Limit(
        why="pyvider's plugins send nothing of what they print",
        shows="^of 120 and 20 bytes the host has got b'' and b''$",
        columns=("stdio",),
        plugins=("pyvider",),
    ),
    Limit(
        why="pyvider's plugins outlive a host that is killed; ours takes them along",
        shows="^the plugin still runs",
        columns=("host death",),
        hosts=("Go", "pyvider"),
        plugins=("pyvider",),
    ),
    Limit(
        why="Go's plugins outlive a host that is killed, but for multiplexed ones; ours takes them along",
        shows="^the plugin still runs",
        columns=("host death",),
        hosts=("Go", "pyvider"),
        plugins=("Go",),
        multiplexed=(False,),
    ),
    Limit(
        why="Go's plugins leave the file of a multiplexed socket; our host removes it",
        shows="^the socket's file is left",
        columns=("kill",),
        hosts=("Go",),
        plugins=("Go",),
        multiplexed=(True,),
    ),
)
"""The first that applies to a cell counts; where none does, everything works."""


UNVERIFIED = (
    "That pyvider's plugins work with AutoMTLS says less than it seems: they encrypt, but do not verify the host's "
    "certificate, and answer whoever can reach the socket."
)


def limit_of(combination: Combination, column: str) -> Limit | None:
    """Why a cell is expected not to work."""
    return next((limit for limit in LIMITS if limit.applies(combination, column)), None)


async def differences(programs: Programs, combination: Combination) -> list[str]:
    """Tries a combination, and says what is not as it is expected."""
    found = await try_all(programs, combination, lambda column: limit_of(combination, column) is None)
    told = []
    for column in COLUMNS:
        limit, failure = limit_of(combination, column), found.get(column)
        if limit is None:
            if failure is not None:
                told.append(f"{column}: {failure}")
        elif failure is None:
            told.append(f"{column} works, of which was expected: {limit.why}")
        elif re.search(limit.shows, failure) is None:
            told.append(f"{column} fails, but not as {limit.shows!r}: {failure}")
    return told


def table() -> str:
    """In Markdown, with what stands around it."""
    versions = re.search(r"hashicorp/go-plugin v(\S+)", (go_programs.MODULE / "go.mod").read_text("utf-8"))
    assert versions is not None
    introduction = (
        f"Hosts and plugins of go-plugin {versions[1]}, of this package (`ours`) and of pyvider-rpcplugin {VERSION}. "
        "What does not work has the number of its reason, which is never on our side. `broker` goes both ways, `64 MB` "
        "is a message there and back, a plugin that gets a `kill` leaves no process and no socket, and it is also gone "
        "after the `host death` (SIGKILL). A test tries all of it, also what does not work; "
        "`python -m tests.goplugin.matrix` writes this."
    )
    lines = [
        introduction,
        "",
        f"| host | plugin | connection | {' | '.join(COLUMNS)} |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    for who, together in itertools.groupby(COMBINATIONS, lambda it: (it.host, it.plugin)):
        lines += [f"| {' | '.join((*who, *row))} |" for row in _rows(together)]
    lines += ["", *(f"{number}. {limit.why[0].upper()}{limit.why[1:]}." for number, limit in enumerate(LIMITS, 1))]
    lines += ["", UNVERIFIED]
    return "\n".join(lines)


def _rows(combinations: Iterable[Combination]) -> list[tuple[str, ...]]:
    """Ways and cells; ways with the same cells share a row."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for combination in combinations:
        ways.setdefault(tuple(_cell(combination, column) for column in COLUMNS), []).append(str(combination.way))
    return [("; ".join(names), *cells) for cells, names in ways.items()]


def _cell(combination: Combination, column: str) -> str:
    limit = limit_of(combination, column)
    return "yes" if limit is None else f"no ({LIMITS.index(limit) + 1})"


def _with_table(page: str) -> str:
    before, _, rest = page.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{table()}\n{MARKERS[1]}{after}"


async def _try_everything() -> bool:
    """Whether all is as expected."""
    places = asyncio.Semaphore(AT_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        flags = static_tls_flags(Path(folder))
        programs = Programs(go_programs.build("host"), go_programs.build("plugin"), flags, make_pyvider())

        async def try_one(combination: Combination) -> bool:
            async with places:
                told = await differences(programs, combination)
            print(combination, *(told or ["as expected"]), sep="\n    ", flush=True)
            return not told

        return all(await asyncio.gather(*map(try_one, COMBINATIONS)))


if __name__ == "__main__":
    if not asyncio.run(_try_everything()):
        sys.exit("not everything is as expected: correct the code, or LIMITS; the page is as it was")
    PAGE.write_text(_with_table(PAGE.read_text("utf-8")), "utf-8")

"""``bridge new``, ``bridge certs`` and ``bridge demo``: what there is before and around a server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from bridge.cli.options import Debug

__all__ = ["certs", "demo", "new"]

_Hosts = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer knows it in all the versions we support
    typer.Option(
        "--host", metavar="NAME", help="Name or IP address of the server, beside localhost; may be given several times."
    ),
]


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the module, such as my_adapter.")],
    directory: Annotated[str, typer.Option(metavar="DIR", help="Where the folder goes.")] = ".",
    debug: Debug = False,
) -> int:
    """Make the folder of a new adapter, with a test that passes."""
    from bridge.scaffold import create

    for file in create(name, Path(directory)):
        typer.echo(f"wrote {file}")
    folder = shlex.quote(str(Path(directory) / name))
    typer.echo(f"\nnext:\n  cd {folder}\n  python -m pytest\n  bridge serve {name}")
    return 0


def certs(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to; made if it is missing.")],
    host: _Hosts = None,
    days: Annotated[int, typer.Option(help="Days they are valid.")] = 365,
    port: Annotated[int, typer.Option(help="Port of the target in client.json.")] = 50051,
    debug: Debug = False,
) -> int:
    """Make certificates, a token and client.json for a server that other machines can reach."""
    from bridge.certificates import create

    made = create(Path(directory), host or [], days, port=port)
    for file in made.files:
        typer.echo(f"wrote {file}")
    quoted = [shlex.quote(str(path)) for path in (made.server_certificate, made.server_key, made.tokens)]
    typer.echo(
        f"\nnext:\n  bridge serve ADAPTER --listen 0.0.0.0:{port} --tls-cert {quoted[0]} --tls-key {quoted[1]} "
        f"--tokens {quoted[2]}\n  bridge tools --client-config {shlex.quote(str(made.client_config))}"
    )
    return 0


def demo(debug: Debug = False) -> int:
    """Show everything at work: a host and a server as processes of their own, and a client that calls them."""
    from rich.console import Console

    from bridge.demo import run_demo

    return run_demo(Console())

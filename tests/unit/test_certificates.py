"""The secure way in one minute."""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import stat
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from bridge.certificates import Certificates, create
from bridge.errors import BridgeError, Code
from bridge.security import TokenFile, load_tls


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates") / "made"
    return create(folder, ["bridge.example.com", "*.example.org", "10.0.0.7", "fd00::7"], 30)


def handshake(made: Certificates, host: str, *, client_certificate: bool = True) -> str:
    """A TLS handshake in memory, both sides checked; the name the server sees."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
    server.load_cert_chain(made.server_certificate, made.server_key)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(made.ca))
    if client_certificate:
        client.load_cert_chain(made.client_certificate, made.client_key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    done = set()
    for turn in range(20):
        end = ends[turn % 2]
        try:
            end.do_handshake()
            done.add(end)
        except ssl.SSLWantReadError:
            continue
    assert len(done) == 2
    certificate = ends[1].getpeercert()
    assert certificate is not None
    return str(dict(pair[0] for pair in certificate["subject"])["commonName"])  # type: ignore[misc]


@pytest.mark.parametrize(
    "host",
    ["bridge.example.com", "a.example.org", "10.0.0.7", "fd00::7", "localhost", "127.0.0.1", "::1"],
)
def test_both_sides_accept_each_other(made: Certificates, host: str) -> None:
    assert handshake(made, host) == "client"


def test_another_name_is_not_accepted(made: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, "elsewhere.example.com")


def test_a_client_without_a_certificate_is_not_accepted(made: Certificates) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(made, "localhost", client_certificate=False)


def test_certificates_of_another_authority_are_not_accepted(made: Certificates, tmp_path: Path) -> None:
    other = create(tmp_path / "other")
    for name in ("client.pem", "client.key", "server.pem", "server.key"):
        (tmp_path / name).write_bytes((made.directory / name).read_bytes())
    (tmp_path / "ca.pem").write_bytes(other.ca.read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Certificates(tmp_path), "localhost")


async def test_grpc_accepts_them_both_ways(made: Certificates) -> None:
    tls = load_tls(made.server_certificate, made.server_key, made.ca)
    seen = []

    async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg, unused-ignore]
        seen.append(context.auth_context()["x509_common_name"])
        return request

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    credentials = grpc.ssl_server_credentials(
        [(tls.private_key, tls.certificate)], root_certificates=tls.client_ca, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    trusted = grpc.ssl_channel_credentials(
        made.ca.read_bytes(), made.client_key.read_bytes(), made.client_certificate.read_bytes()
    )
    try:
        async with asyncio.timeout(10), grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            assert await channel.unary_unary("/test.Service/Echo")(b"hello") == b"hello"
    finally:
        await server.stop(None)
    assert seen == [[b"client"]]


def test_the_token_is_accepted_and_random(made: Certificates, tmp_path: Path) -> None:
    token = made.client_token.read_text().strip()
    assert TokenFile(made.tokens).authenticate({"authorization": f"Bearer {token}"}) == "token:client"
    assert len(token) == 64
    assert create(tmp_path / "other").client_token.read_text().strip() != token


def test_the_client_config_names_everything_a_client_needs(made: Certificates) -> None:
    config = json.loads(made.client_config.read_text())
    assert config == {
        "target": "bridge.example.com:50051",
        "ca": str(made.ca),
        "token_file": str(made.client_token),
        "certificate": str(made.client_certificate),
        "private_key": str(made.client_key),
    }


def test_everything_is_private(made: Certificates) -> None:
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    assert set(made.directory.iterdir()) == set(made.files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.files} == {0o600}


def test_the_key_of_the_authority_is_nowhere(made: Certificates) -> None:
    keys = [path.name for path in made.files if "PRIVATE KEY" in path.read_text()]
    assert sorted(keys) == ["client.key", "server.key"]


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        ([], "localhost:7"),
        (["*.example.com"], "localhost:7"),
        (["[::2]"], "[::2]:7"),
        (["10.0.0.1", "x"], "10.0.0.1:7"),
    ],
)
def test_the_target_is_the_first_host(tmp_path: Path, hosts: list[str], target: str) -> None:
    assert json.loads(create(tmp_path / "x", hosts, port=7).client_config.read_text())["target"] == target


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    before = {path: path.read_bytes() for path in create(folder).files}
    with pytest.raises(BridgeError, match="not overwritten") as caught:
        create(folder)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_other_files_in_the_directory_do_not_matter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "notes.txt").write_text("mine")
    create(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    # A file may get 700 bytes: the authority's certificate has fewer, the server's with its names has more.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(BridgeError, match=r"server\.pem: File too large"):
            create(tmp_path / "x", ["a-long-name.example.com", "another-long-name.example.com"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "x").iterdir()) == []
    create(tmp_path / "x")


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(BridgeError, match="open to other users"):
        create(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "host",
    ["", "a b", "http://x", "x:80", "0.0.0.0", "::", "*", "*.*.x", "a/b", "unix", "fe80::1%eth0", "1.2.3", "x" * 64],
)
def test_a_host_that_cannot_be_one_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(BridgeError, match="hosts") as caught:
        create(tmp_path / "x", [host])
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("days", [0, -1, 826])
def test_a_lifetime_that_clients_refuse_is_refused(tmp_path: Path, days: int) -> None:
    with pytest.raises(BridgeError, match="days"):
        create(tmp_path / "x", days=days)


@pytest.fixture
def without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)


@pytest.mark.usefixtures("without_cryptography")
def test_a_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"tool-bridge\[tls\]") as caught:
        create(tmp_path / "x")
    assert caught.value.reason == "MISSING_EXTRA"
    assert not (tmp_path / "x").exists()

"""Certificates, tokens and the files that hold them."""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge.security import (
    TokenFile,
    certificate_principal,
    load_tls,
    parse_tokens,
    write_atomically,
    write_client_config,
)

ALICE, BOB, CAROL = "alice-token-0123456789", "bob-token-0123456789", "carol-token-0123456789"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """Replaces a file as a careful program does."""
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(text if isinstance(text, bytes) else text.encode())
    draft.chmod(mode)
    return draft.replace(path)


def file_refusal(path: Path) -> str:
    with pytest.raises(BridgeError) as caught:
        TokenFile(path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.reason == "SECURITY_FILE"
    assert str(path) in caught.value.message
    return caught.value.message


def refusal_of(tokens: TokenFile, headers: dict[str, str]) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        tokens.authenticate(headers)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert "authorization: Bearer TOKEN" in caught.value.message
    return caught.value


# Tokens


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write(tmp_path / "tokens", f"# who may call\n\nalice {ALICE}\n  bob : {BOB}\t\r\nbob\t{CAROL}==\n")


def test_a_token_proves_its_name(tokens: Path) -> None:
    file = TokenFile(tokens)
    assert file.authenticate(bearer(ALICE)) == "token:alice"
    assert file.authenticate({"authorization": f"bEARER  {BOB} "}) == "token:bob"
    assert file.authenticate(bearer(CAROL + "==")) == "token:bob"


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}, {"authorization": "Bearer "}, {"authorization": ALICE}])
def test_a_call_without_a_token_learns_how_to_send_one(tokens: Path, headers: dict[str, str]) -> None:
    assert refusal_of(TokenFile(tokens), headers).reason == "TOKEN_MISSING"
    assert refusal_of(TokenFile(tokens), {"authorization": f"Basic {ALICE}"}).reason == "TOKEN_MISSING"


@pytest.mark.parametrize("token", ["wrong-token-canary", ALICE[:-1], ALICE + "x", "alice", "ünï\udc80", "x" * 100_000])
def test_a_wrong_token_is_refused_and_not_repeated(tokens: Path, token: str) -> None:
    error = refusal_of(TokenFile(tokens), bearer(token))
    assert error.reason == "TOKEN_INVALID"
    assert token not in str(error)
    assert token not in repr(error)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "holds no token"),
        ("# only a comment\n", "holds no token"),
        ("alice\n", "line 1"),
        (f"alice {ALICE} more\n", "line 1"),
        (f"\nal/ice {ALICE}\n", "line 2"),
        ("alice secret-canary\n", "fewer than 16"),
        ("alice sécret-canary-0123456789\n", "line 1"),
        (f"alice {ALICE}\nbob {ALICE}\n", "line 2: the token is there twice"),
        (f"alice {ALICE}\nalice:{ALICE}\n", "line 2: the token is there twice"),
        (b"alice \xff\xfe", "not text"),
        (b"x" * (1024 * 1024 + 1), "more than"),
    ],
)
def test_a_broken_token_file_is_refused_with_the_line_and_without_the_token(
    tmp_path: Path, text: str | bytes, hint: str
) -> None:
    message = file_refusal(write(tmp_path / "tokens", text))
    assert hint in message
    assert "canary" not in message
    assert ALICE not in message


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o640, 0o620, 0o644, 0o660])
def test_a_token_file_open_to_others_is_refused(tokens: Path, mode: int) -> None:
    tokens.chmod(mode)
    assert "chmod 600" in file_refusal(tokens)


@needs_root
def test_a_token_file_of_another_user_is_refused(tokens: Path) -> None:
    os.chown(tokens, 65534, 65534)
    assert "belongs to user 65534" in file_refusal(tokens)


@contextmanager
def another_user() -> Iterator[None]:
    """The rights of a service that is not root."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@needs_root
@pytest.mark.parametrize(("mode", "accepted"), [(0o640, True), (0o440, True), (0o660, False), (0o644, False)])
def test_root_may_lend_a_token_file_to_the_group_of_a_service(mode: int, accepted: bool) -> None:
    # Not in tmp_path, which nobody but root may enter.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "tokens", f"alice {ALICE}\n", mode)
        os.chown(path, 0, 65534)
        with another_user():
            if accepted:
                assert TokenFile(path).authenticate(bearer(ALICE)) == "token:alice"
            else:
                assert "open to other users" in file_refusal(path)


@needs_root
def test_a_file_that_may_not_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "tokens", f"alice {ALICE}\n")
        with another_user():
            assert "Permission denied" in file_refusal(path)


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in file_refusal(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_a_token_file_that_is_no_plain_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tokens"
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        path.mkdir(0o700)
    file_refusal(path)


def test_tokens_are_rotated_without_a_restart(tokens: Path) -> None:
    clock = ManualClock()
    file = TokenFile(tokens, clock=clock)
    write(tokens, f"carol {CAROL}\n")
    clock.now += 0.49
    assert file.authenticate(bearer(ALICE)) == "token:alice"  # looked at not long ago
    clock.now += 0.02
    assert file.authenticate(bearer(CAROL)) == "token:carol"
    assert refusal_of(file, bearer(ALICE)).reason == "TOKEN_INVALID"


def test_a_file_changed_in_place_is_read_again(tokens: Path) -> None:
    clock = ManualClock()
    file = TokenFile(tokens, clock=clock)
    tokens.write_text(f"carol {CAROL}\n")
    clock.now += 1
    assert file.authenticate(bearer(CAROL)) == "token:carol"


@pytest.mark.parametrize("damage", ["syntax", "mode", "gone", "empty"])
def test_a_broken_rotation_keeps_the_last_good_tokens_and_is_logged_once(
    tokens: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    file = TokenFile(tokens, clock=clock)
    if damage == "syntax":
        write(tokens, "alice secret-canary\n")
    elif damage == "mode":
        write(tokens, f"carol {CAROL}\n", 0o644)
    elif damage == "gone":
        tokens.unlink()
    else:
        write(tokens, "")
    for _ in range(5):
        clock.now += 1
        assert file.authenticate(bearer(ALICE)) == "token:alice"
        refusal_of(file, bearer(CAROL))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "canary" not in caplog.text

    write(tokens, f"carol {CAROL}\n")
    clock.now += 1
    assert file.authenticate(bearer(CAROL)) == "token:carol"


def test_making_the_file_private_again_is_enough(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    file = TokenFile(tokens, clock=clock)
    write(tokens, f"carol {CAROL}\n", 0o644)
    clock.now += 1
    assert file.authenticate(bearer(ALICE)) == "token:alice"
    tokens.chmod(0o600)
    clock.now += 1
    assert file.authenticate(bearer(CAROL)) == "token:carol"
    assert len(caplog.messages) == 1


names = st.from_regex(r"[A-Za-z0-9_.@-]{1,64}", fullmatch=True)
secrets_ = st.from_regex(r"[A-Za-z0-9._~+/-]{16,64}={0,2}", fullmatch=True)


@given(st.dictionaries(secrets_, names, min_size=1, max_size=20), st.sampled_from([" ", ":", " : ", "\t", "  "]))
def test_every_token_written_is_the_token_read(given_tokens: dict[str, str], separator: str) -> None:
    text = "\n# comment\n".join(f"{name}{separator}{token}" for token, name in given_tokens.items())
    found = parse_tokens(text, Path("tokens"))
    assert [name for name, _ in found] == [f"token:{name}" for name in given_tokens.values()]
    assert len({digest for _, digest in found}) == len(given_tokens)


@given(st.text(max_size=300))
def test_any_text_is_tokens_or_a_refusal(text: str) -> None:
    try:
        found = parse_tokens(text, Path("tokens"))
    except BridgeError:
        return
    assert found


# Certificates


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    other = authority.issue_cert("localhost")
    for name, text in {
        "ca.pem": authority.cert_pem.bytes(),
        "server.pem": b"".join(blob.bytes() for blob in server.cert_chain_pems),
        "server.key": server.private_key_pem.bytes(),
        "other.key": other.private_key_pem.bytes(),
        "open.key": server.private_key_pem.bytes(),
        "locked.key": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "broken.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "text.pem": b"hello",
    }.items():
        write(folder / name, text, 0o644 if name == "open.key" else 0o600)
    return folder


def test_certificates_of_a_server_are_read(pki: Path) -> None:
    tls = load_tls(pki / "server.pem", pki / "server.key")
    assert tls.certificate == (pki / "server.pem").read_bytes()
    assert tls.private_key == (pki / "server.key").read_bytes()
    assert tls.client_ca is None
    assert load_tls(pki / "server.pem", pki / "server.key", pki / "ca.pem").client_ca == (pki / "ca.pem").read_bytes()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "blamed", "hint"),
    [
        ("missing.pem", "server.key", None, "missing.pem", "No such file"),
        ("server.pem", "missing.key", None, "missing.key", "No such file"),
        ("server.pem", "server.key", "missing.pem", "missing.pem", "No such file"),
        ("text.pem", "server.key", None, "text.pem", "is not PEM"),
        ("server.key", "server.key", None, "server.key", "BEGIN CERTIFICATE"),
        ("server.pem", "server.pem", None, "server.pem", "BEGIN PRIVATE KEY"),
        ("server.pem", "open.key", None, "open.key", "chmod 600"),
        ("server.pem", "other.key", None, "other.key", "is not the key of"),
        ("server.pem", "locked.key", None, "locked.key", "openssl pkey"),
        ("broken.pem", "server.key", None, "server.key", "cannot be used with"),
        ("server.pem", "server.key", "broken.pem", "broken.pem", "no certificate"),
        ("server.pem", "server.key", "text.pem", "text.pem", "is not PEM"),
    ],
)
def test_a_certificate_that_cannot_work_is_refused_at_the_start(
    pki: Path, cert: str, key: str, ca: str | None, blamed: str, hint: str
) -> None:
    with pytest.raises(BridgeError) as caught:
        load_tls(pki / cert, pki / key, None if ca is None else pki / ca)
    assert caught.value.reason == "SECURITY_FILE"
    assert caught.value.message.startswith(str(pki / blamed))
    assert hint in caught.value.message


def test_a_certificate_names_its_client() -> None:
    assert certificate_principal("alice") == "mtls:alice"
    assert certificate_principal("alice", ["other"]) == "mtls:alice"
    assert certificate_principal("", ["spiffe://example.org/worker", "x"]) == "mtls:spiffe://example.org/worker"


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 257, "ü", "\x00", "a,b"])
def test_a_certificate_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(BridgeError, match="no usable name") as caught:
        certificate_principal(name)
    assert caught.value.code is Code.UNAUTHENTICATED


# Files


def test_a_client_config_names_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "client.json"
    write_client_config(path, target="localhost:1", ca=Path("ca.pem"), token_file=Path("/t"), server_name="bridge")
    assert json.loads(path.read_text()) == {
        "target": "localhost:1",
        "ca": str(tmp_path / "ca.pem"),
        "token_file": "/t",
        "server_name": "bridge",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_client_config(path, target="unix:/x")
    assert json.loads(path.read_text()) == {"target": "unix:/x"}
    assert [item.name for item in tmp_path.iterdir()] == ["client.json"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_file_has_its_mode_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a", "ü", 0o600)
        write_atomically(tmp_path / "b", "x", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o644
    assert (tmp_path / "a").read_text("utf-8") == "ü"


def test_replacing_a_file_leaves_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    write_atomically(tmp_path / "link", "content")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "content"


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "taken", tmp_path / "missing" / "file"):
        with pytest.raises(BridgeError, match="cannot write") as caught:
            write_atomically(path, "x")
        assert caught.value.reason == "FILE_NOT_WRITTEN"
    assert [item.name for item in tmp_path.iterdir()] == ["taken"]

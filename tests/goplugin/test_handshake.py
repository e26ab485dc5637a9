"""The cookie and the line, as go-plugin's hosts read them."""

from __future__ import annotations

import binascii
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.goplugin.handshake import MAX_LINE, Handshake, HandshakeConfig, check_cookie

CONFIG = HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello")
CERTIFICATE = bytes(range(256))
ENCODED = binascii.b2a_base64(CERTIFICATE, newline=False).decode().rstrip("=")
KV = Handshake(protocol_version=1, network="unix", address="/tmp/plugin1")

PATHS = st.text(st.characters(exclude_characters="|\n\0", exclude_categories=["Cs"]), min_size=1, max_size=100)
HOSTS = st.sampled_from(["", "127.0.0.1", "[::1]", "[fe80::1%lo]", "plugin.example"])
ADDRESSES = st.tuples(st.just("unix"), PATHS) | st.tuples(
    st.just("tcp"), st.builds("{}:{}".format, HOSTS, st.integers(1, 65535))
)


def refused(line: str, **wishes: object) -> BridgeError:
    """The error about a line."""
    with pytest.raises(BridgeError) as caught:
        Handshake.parse(line, **wishes)  # type: ignore[arg-type]
    return caught.value


@given(
    where=ADDRESSES,
    version=st.integers(-(2**63), 2**63 - 1),
    certificate=st.just(b"") | st.binary(min_size=38, max_size=2000),
    multiplexing=st.sampled_from([None, True, False]),
    end=st.sampled_from(["", "\n", "\r\n"]),
)
def test_a_host_reads_what_a_plugin_says(
    where: tuple[str, str], version: int, certificate: bytes, multiplexing: bool | None, end: str
) -> None:
    said = Handshake(
        protocol_version=version,
        network=where[0],
        address=where[1],
        server_certificate=certificate,
        multiplexing=multiplexing,
    )
    assert Handshake.parse(said.line().removesuffix("\n") + end) == said


def test_a_plugin_says_six_segments_and_seven_where_the_host_knows_of_multiplexing() -> None:
    assert KV.line() == "1|1|unix|/tmp/plugin1|grpc|\n"
    both = Handshake(
        protocol_version=7, network="tcp", address="127.0.0.1:1", server_certificate=CERTIFICATE, multiplexing=True
    )
    assert both.line() == f"1|7|tcp|127.0.0.1:1|grpc|{ENCODED}|true\n"
    unwanted = Handshake(protocol_version=1, network="unix", address="/s", multiplexing=False)
    assert unwanted.line() == "1|1|unix|/s|grpc||false\n"


@pytest.mark.parametrize("address", ["/a|b", "/a\nb", "/" + "a" * MAX_LINE])
def test_an_address_that_a_line_cannot_hold_is_refused(address: str) -> None:
    with pytest.raises(BridgeError, match="INVALID_ARGUMENT: address"):
        Handshake(protocol_version=1, network="unix", address=address).line()


@pytest.mark.parametrize(
    "line",
    [
        "1|1|unix|/tmp/plugin1|grpc",
        "1|1|unix|/tmp/plugin1|grpc\r\n",
        " \t1|1|unix|/tmp/plugin1|grpc|\x85\u2003",
        "+1|01|unix|/tmp/plugin1|grpc|" + "!" * 50,
        "1|1|unix|/tmp/plugin1|grpc||maybe",
        "1|1|unix|/tmp/plugin1|grpc|||more|of|it",
    ],
)
def test_what_go_takes_is_taken(line: str) -> None:
    assert Handshake.parse(line) == KV


@pytest.mark.parametrize(
    ("segment", "expected"),
    [(text, True) for text in ("1", "t", "T", "true", "TRUE", "True")]
    + [(text, False) for text in ("0", "f", "F", "false", "FALSE", "False")]
    + [(text, None) for text in ("", "yes", "tRUE", "2", "wahr")],
)
def test_the_seventh_segment_is_a_boolean_as_go_reads_it(segment: str, expected: bool | None) -> None:
    assert Handshake.parse(f"1|1|unix|/s|grpc||{segment}").multiplexing is expected


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("hello\n", "HANDSHAKE", "Unrecognized remote plugin message: hello\n"),
        ("", "HANDSHAKE", "Unrecognized remote plugin message: \n"),
        ("1|1|unix", "HANDSHAKE", "Unrecognized remote plugin message: 1|1|unix\n"),
        (
            "x|1|unix|/s|grpc",
            "HANDSHAKE",
            'error parsing core protocol version: strconv.Atoi: parsing "x": invalid syntax',
        ),
        (
            "2|1|unix|/s|grpc",
            "CORE_VERSION",
            "incompatible core API version with plugin. Plugin version: 2, Core version: 1\n\n",
        ),
        (
            "1|\x1c1|unix|/s|grpc",
            "HANDSHAKE",
            r'Error parsing protocol version "\x1c1": strconv.Atoi: parsing "\x1c1": invalid syntax',
        ),
        (f"1|{2**63}|unix|/s|grpc", "HANDSHAKE", f'strconv.Atoi: parsing "{2**63}": value out of range'),
        (f"1|{'9' * 5000}|unix|/s|grpc", "HANDSHAKE", '9": value out of range'),
        ("\x1c1|1|unix|/s|grpc", "HANDSHAKE", r'parsing "\x1c1": invalid syntax'),
        ("1|1|udp|:53|grpc", "PLUGIN_ADDRESS", "unknown address type: :53"),
        ("1|1|unix||grpc", "PLUGIN_ADDRESS", "no path"),
        ("1|1|tcp|nowhere|grpc", "PLUGIN_ADDRESS", "address nowhere: missing port in address"),
        ("1|1|tcp|::1:80|grpc", "PLUGIN_ADDRESS", "address ::1:80: too many colons in address"),
        ("1|1|tcp|[::1]|grpc", "PLUGIN_ADDRESS", "address [::1]: missing port in address"),
        ("1|1|tcp|:0|grpc", "PLUGIN_ADDRESS", "address :0: invalid port"),
        ("1|1|tcp|:65536|grpc", "PLUGIN_ADDRESS", "address :65536: invalid port"),
        ("1|1|unix|/s", "PLUGIN_PROTOCOL", 'unsupported plugin protocol "netrpc". Supported: [grpc]'),
        ("1|1|unix|/s|netrpc|", "PLUGIN_PROTOCOL", 'unsupported plugin protocol "netrpc". Supported: [grpc]'),
        ("1|1|unix|/s||", "PLUGIN_PROTOCOL", 'unsupported plugin protocol "". Supported: [grpc]'),
    ],
)
def test_what_go_refuses_is_refused_with_its_words(line: str, reason: str, words: str) -> None:
    error = refused(line)
    assert (error.reason, words in error.message) == (reason, True), error


@pytest.mark.parametrize(
    ("segment", "at"),
    [
        (ENCODED + "==", len(ENCODED)),
        ("A" * 57, 56),
        ("A" * 56 + "\r" + "A", 57),
        ("A" * 60 + "-" + "A" * 3, 60),
        ("A" * 57 + "_", 57),
        ("A" * 10 + "\udcff" * 60, 10),
    ],
)
def test_a_certificate_that_is_no_unpadded_base64_is_refused_where_go_refuses_it(segment: str, at: int) -> None:
    error = refused(f"1|1|unix|/s|grpc|{segment}")
    assert error.reason == "BAD_CERTIFICATE"
    assert f"error parsing server cert: illegal base64 data at input byte {at};" in error.message


def test_a_certificate_may_have_carriage_returns_and_spare_bits() -> None:
    parsed = Handshake.parse(f"1|1|unix|/s|grpc|{ENCODED[:30]}\r{ENCODED[30:-1]}x|true")
    assert parsed.server_certificate == CERTIFICATE


@pytest.mark.parametrize("length", [50, 51])
def test_a_sixth_segment_is_a_certificate_from_51_bytes_on(length: int) -> None:
    parsed = Handshake.parse(f"1|1|unix|/s|grpc|{'A' * length}")
    assert len(parsed.server_certificate) == (38 if length == 51 else 0)


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ("|", "plugin does not support the feature; for Go plugins, you will need to update the "),
        ("||false", "client requested gRPC broker multiplexing but plugin does not support the feature"),
        ("||", 'error parsing "" as a boolean for gRPC broker multiplexing support'),
        ("||yes", 'error parsing "yes" as a boolean for gRPC broker multiplexing support'),
    ],
)
def test_a_plugin_without_multiplexing_is_refused_by_a_host_that_wants_it(segments: str, words: str) -> None:
    error = refused(f"1|1|unix|/s|grpc{segments}", multiplex=True)
    assert (error.reason, words in error.message) == ("MUX_NOT_SUPPORTED", True), error
    assert Handshake.parse("1|1|unix|/s|grpc||T", multiplex=True).multiplexing


def test_a_version_that_the_host_does_not_speak_is_told_before_what_else_is_wrong() -> None:
    error = refused("1|4|nowhere|x|netrpc", offered={1, 2})
    assert error.reason == "APP_VERSION"
    assert "incompatible API version with plugin. Plugin version: 4, Client versions: [1 2]" in error.message
    assert Handshake.parse("1|4|unix|/s|grpc", offered={4}).protocol_version == 4


def test_a_line_is_at_most_as_long_as_go_reads_one() -> None:
    longest = KV.line().removesuffix("\n")
    longest += "|" + "x" * (MAX_LINE - len(longest) - 1)
    assert Handshake.parse(longest + "\n") == KV
    error = refused(longest + "x\n")
    assert error.reason == "HANDSHAKE"
    assert len(error.message) < 1500


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=70), max_size=9).map(b"|".join))
def test_whatever_a_program_prints_is_a_handshake_or_an_error(printed: bytes) -> None:
    with suppress(BridgeError):
        Handshake.parse(printed.decode("utf-8", "surrogateescape"))


@given(st.lists(st.text(), max_size=8).map("|".join), st.booleans())
def test_whatever_text_follows_the_first_segments_is_a_handshake_or_an_error(text: str, multiplex: bool) -> None:
    for begin in ("", "1|1|unix|", "1|1|tcp|:1|grpc|" + string.ascii_letters):
        with suppress(BridgeError):
            Handshake.parse(begin + text, multiplex=multiplex)


def test_a_plugin_that_has_its_cookie_goes_on() -> None:
    assert check_cookie(CONFIG, {"BASIC_PLUGIN": "hello", "PATH": "/bin"}) is None


@pytest.mark.parametrize("environ", [{}, {"BASIC_PLUGIN": ""}, {"BASIC_PLUGIN": "Hello"}, {"BASIC_PLUGIN": "hello "}])
def test_people_who_start_a_plugin_are_told_what_to_start(environ: dict[str, str]) -> None:
    message = check_cookie(CONFIG, environ)
    assert message is not None
    assert "is a plugin" in message
    assert message.endswith("\n")
    assert message.count("\n") <= 5


@pytest.mark.parametrize(
    "fields",
    [
        {"magic_cookie_key": ""},
        {"magic_cookie_value": ""},
        {"magic_cookie_key": "A=B"},
        {"magic_cookie_value": "a\0b"},
        {"magic_cookie_value": None},
        {"protocol_version": "1"},
        {"protocol_version": -1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(fields: dict[str, object]) -> None:
    good: dict[str, object] = {"magic_cookie_key": "K", "magic_cookie_value": "v"}
    with pytest.raises(BridgeError, match=next(iter(fields))):
        HandshakeConfig(**{**good, **fields})  # type: ignore[arg-type]

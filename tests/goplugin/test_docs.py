"""docs/goplugin.md is true: its programs run, its bytes are those of the wire, its tables are those of the code."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from bridge.engines.base import ServerOptions
from bridge.goplugin import handshake
from bridge.goplugin.brokering.wire import ConnInfo, Knock
from bridge.goplugin.handshake import Handshake
from bridge.goplugin.hclog import MAX_LINE, hclog_line
from bridge.goplugin.host.settings import HostSettings
from bridge.goplugin.log_entries import LogState, parse_line
from bridge.goplugin.messages import StdioData
from bridge.goplugin.output import output_buffer
from bridge.goplugin.output.captured_output import PIPE_BYTES
from bridge.goplugin.process import process
from bridge.goplugin.reattach import ReattachConfig
from bridge.goplugin.serving import server as serving
from bridge.goplugin.serving.settings import PREFIX, HostWishes, ServeSettings
from bridge.goplugin.transport import inlet, sockets
from bridge.goplugin.transport.connections import MAX_CONNECTIONS
from bridge.goplugin.transport.route import TIMEOUT
from bridge.listeners import MAX_SOCKET_PATH
from bridge.yamux import wire
from bridge.yamux.config import DEFAULT_CONFIG
from tests.goplugin.docs_page import (
    CHECKOUT,
    PAGE,
    Piece,
    Program,
    arguments,
    blocks,
    lay_out,
    pieces,
    programs,
    run,
    table,
)

_REASON = re.compile(r'reason="([A-Z_]+)"|(?:, |return )"([A-Z]+_[A-Z_]+)"[,)]')
_NO_REASONS = {"CLIENT_GONE", "PACKET_LENGTH_TOO_LONG", "SO_PEERCRED", "WRONG_VERSION_NUMBER"}
"""Of a call that nobody waits for, and words of the system and of OpenSSL."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page")
    lay_out(made)
    return made


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.command)
def test_a_program_of_the_page_prints_what_it_says(program: Program, folder: Path) -> None:
    code, output = run(folder, *arguments(program))
    assert output + (f"[exit code {code}]\n" if code else "") == program.output


@pytest.mark.parametrize("piece", pieces(), ids=lambda piece: piece.heading)
def test_a_piece_of_the_page_prints_what_its_comments_say(piece: Piece, folder: Path) -> None:
    path = folder / f"piece_{pieces().index(piece)}.py"
    path.write_text(piece.program, "utf-8")
    code, output = run(folder, "-W", "error", path.name, kills="SIGKILL" in piece.code)
    shown = "".join(
        line for line in output.splitlines(keepends=True) if not line.startswith(("plugin ", "the plugin "))
    )
    assert (code, shown) == (0, piece.output), output


def test_the_stubs_are_those_of_the_proto_on_the_page(folder: Path) -> None:
    (source,) = blocks("proto")
    (folder / "notes.proto").write_text(source, "utf-8")
    built = subprocess.run(
        [Path(sys.executable).with_name("buf"), "build", folder, "--exclude-source-info", "-o", "-#format=binpb"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    (wanted,) = FileDescriptorSet.FromString(built.stdout).file
    code, output = run(folder, "-c", "import notes_pb2; print(notes_pb2.DESCRIPTOR.serialized_pb.hex())")
    assert code == 0, output
    assert _shape(FileDescriptorProto.FromString(bytes.fromhex(output))) == _shape(wanted)


def _shape(file: FileDescriptorProto) -> FileDescriptorProto:
    """What both compilers say."""
    file = FileDescriptorProto.FromString(file.SerializePartialToString())
    file.DiscardUnknownFields()
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return file


def test_the_handshake_lines_mean_what_the_page_says() -> None:
    (lines,) = blocks("handshake")
    assert [Handshake.parse(line) for line in lines.splitlines()] == [
        Handshake(protocol_version=1, network="unix", address="/tmp/plugin2977383596"),
        Handshake(protocol_version=5, network="tcp", address="127.0.0.1:10000"),
        Handshake(protocol_version=1, network="unix", address="/tmp/plugin8c1f/plugin77aa", multiplexing=True),
    ]
    first, _, last = lines.splitlines(keepends=True)
    assert [Handshake.parse(line).line() for line in (first, last)] == [first, last]


def test_the_json_for_reattaching_is_what_plugins_print() -> None:
    (text,) = blocks("reattach")
    assert ReattachConfig.from_json(text).to_json() + "\n" == text


def test_the_bytes_of_the_page_are_those_of_the_wire() -> None:
    offer = ConnInfo(7, "unix", "/tmp/plugin8c/plugin77")
    syn, ack = wire.Flag.SYN, wire.Flag.ACK
    wanted = [
        ("ConnInfo: service 7 is there", offer.encode()),
        ("ConnInfo: a knock for 7", ConnInfo(7, knock=Knock()).encode()),
        ("ConnInfo: it may come", ConnInfo(7, knock=Knock(ack=True)).encode()),
        ('StdioData: "hi\\n" on stdout', StdioData(channel=StdioData.STDOUT, data=b"hi\n").SerializeToString()),
        ("yamux: the host opens stream 1", wire.HEADER.pack(0, wire.FrameType.WINDOW_UPDATE, syn, 1, 0)),
        ("yamux: the plugin accepts it", wire.HEADER.pack(0, wire.FrameType.WINDOW_UPDATE, ack, 1, 0)),
        ("yamux: 24 bytes of data in it", wire.HEADER.pack(0, wire.FrameType.DATA, 0, 1, 24)),
    ]
    (text,) = blocks("bytes")
    assert text.splitlines() == [f"{words:32}{data.hex(' ')}" for words, data in wanted]


def test_the_log_lines_of_the_page_are_written_and_read() -> None:
    (text,) = blocks("hclog")
    entries = [parse_line(line.encode(), state) for state in [LogState()] for line in text.splitlines()]
    assert [entry.level for entry in entries] == [logging.INFO, logging.WARNING, logging.ERROR]
    assert entries[0].timestamp is not None
    record = logging.LogRecord("notes", logging.INFO, "", 0, "a note is kept", None, None)
    record.created, record.size = entries[0].timestamp.timestamp(), 10
    assert hclog_line(record).decode() == text.splitlines(keepends=True)[0]


def test_the_table_of_a_plugins_settings_is_that_of_the_code() -> None:
    shown = table("Settings")
    shown.pop("argument")
    assert {name: cells[:2] for name, cells in shown.items()} == {
        name: [PREFIX + name.upper(), str(value).lower() if isinstance(value, bool) else str(value)]
        for name, value in msgspec.structs.asdict(ServeSettings()).items()
    }


def test_the_table_of_a_hosts_settings_is_that_of_the_code() -> None:
    rows = table("Settings of `PluginClient`")
    rows.pop("argument")
    shown = {}
    for names, cells in rows.items():
        values = cells[0].split(", ")
        for number, name in enumerate(names.split(", ")):
            shown[name] = values[number % len(values)]
    assert shown == {field.name: _default(field) for field in msgspec.structs.fields(HostSettings)}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if value in ("", ()):
        return ""
    return value.name if isinstance(value, logging.Logger) else str(value)


def test_every_variable_of_the_host_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    assert [name for name in HostWishes.__struct_fields__ if f"`{PREFIX}{name.upper()}`" not in page] == []


def test_every_reason_of_the_package_is_on_the_page() -> None:
    reasons = set[str]()
    for file in [*(CHECKOUT / "bridge" / "goplugin").rglob("*.py"), CHECKOUT / "bridge" / "tls_failures.py"]:
        text = file.read_text("utf-8")
        found = {first or second for first, second in _REASON.findall(text)}
        reasons |= {name for name in found if not re.search(rf"^{name}\b.*=", text, re.MULTILINE)}
    assert {"BROKER_TIMEOUT", "CHECKSUM", "PLUGIN_EXITED", "PLUGIN_ARCHITECTURE", "TLS_TIMEOUT"} <= reasons
    page = PAGE.read_text("utf-8")
    assert sorted(reason for reason in reasons - _NO_REASONS if f"`{reason}`" not in page) == []


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    mib = 1024 * 1024
    options = ServerOptions(max_message_bytes=1, max_metadata_bytes=1, max_concurrent_streams=1)
    wanted = {
        "bytes of the handshake line": f"{handshake.MAX_LINE:,}",
        "bytes of a line of the log": f"{MAX_LINE:,}",
        "bytes of a message": f"{ServeSettings().max_message_bytes // mib} MiB in a plugin",
        "bytes of a call's metadata": f"{serving.MAX_METADATA_BYTES // 1024} KiB",
        "calls at once, of a connection": f"{serving.MAX_STREAMS:,}",
        "methods in threads at once": f"{options.service_threads}",
        "connections under TLS at once": f"{MAX_CONNECTIONS}, and {sockets.BACKLOG} in the kernel",
        "time for a TLS handshake": f"{inlet.HANDSHAKE_TIMEOUT:g} s",
        "time for a dial": f"{TIMEOUT:g} s",
        "streams of a multiplexed connection": f"{DEFAULT_CONFIG.max_streams:,} from the other side, "
        f"{DEFAULT_CONFIG.backlog} of them not accepted",
        "bytes of such a stream that nobody has read": f"{DEFAULT_CONFIG.window // 1024} KiB",
        "pings of such a connection": f"every {DEFAULT_CONFIG.keepalive_interval:g} s, "
        f"{DEFAULT_CONFIG.ping_timeout:g} s to answer",
        "bytes printed and not taken, of each channel": f"{output_buffer.HELD_BYTES // mib} MiB, and "
        f"{PIPE_BYTES // 1024} KiB in the pipe",
        "time for printing to wait": f"{output_buffer.PATIENCE:g} s in which",
        "lines of stderr for errors": f"{process._KEPT_LINES}, of {process._KEPT_BYTES:,} bytes each",
        "bytes of a socket's path": f"{MAX_SOCKET_PATH}",
    }
    shown = table("Limits")
    assert {name: text for name, text in wanted.items() if not shown[name][0].startswith(text)} == {}

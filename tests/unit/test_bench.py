"""The pure parts of the bench: reading h2load, the arithmetic of the tables, the recorded requests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from bench.calls import SetCall, WrongReplyError, decode, frame, request
from bench.cases import BARE, GROUPS, STORES
from bench.cores import Cores, split
from bench.cpu import CpuClock
from bench.figures import Sample, ratios, summarise
from bench.h2load import Load, arguments, latencies, parse, percentile
from bench.report import format_columns, format_table
from bench.run import Table
from bench.startup import Start
from bench.targets import check
from bridge.v1 import bridge_pb2, host_pb2, values_pb2

REPORT = """\
finished in 645.74ms, 7743.02 req/s, 1.16MB/s
requests: 5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 5000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 763.81KB (782143) total, 14.72KB (15075) headers (space savings 96.28%), 488.28KB (500000) data
"""
LOAD = Load("127.0.0.1:50051", "/p", (("te", "trailers"),), Path("body"))


def test_a_report_of_h2load_is_read() -> None:
    result = parse(REPORT)
    assert (result.calls, result.data_bytes, result.failed) == (5000, 500000, 0)
    assert result.seconds == pytest.approx(5000 / 7743.02)


def test_failed_and_non_2xx_requests_count_as_failed_and_errored_ones_only_once() -> None:
    report = REPORT.replace("0 failed, 0 errored", "3 failed, 2 errored").replace("5000 2xx", "4996 2xx")
    assert parse(report).failed == 7


def test_text_that_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="not a report of h2load"):
        parse("could not connect to host")


def test_calls_in_flight_are_streams_of_one_http2_connection() -> None:
    command = arguments("h2load", LOAD, 800, 8, Path("log"))
    assert command[command.index("-c") + 1] == "1"
    assert command[command.index("-m") + 1] == "8"
    assert command[-1] == "http://127.0.0.1:50051/p"


def test_calls_in_flight_are_connections_of_http1() -> None:
    command = arguments("h2load", Load("127.0.0.1:1", "/p", (), Path("body"), http1=True), 800, 8, Path("log"))
    assert command[command.index("-c") + 1] == "8"
    assert command[command.index("-m") + 1] == "1"
    assert "--h1" in command


def test_a_unix_socket_is_given_as_base_uri() -> None:
    command = arguments("h2load", Load("unix:/run/s", "/p", (), Path("body")), 1, 1, Path("log"))
    assert command[command.index("-B") + 1] == "unix:/run/s"
    assert command[-1] == "http://localhost/p"


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = list(range(1, 201))
    assert percentile(ordered, 0.5) == 100
    assert percentile(ordered, 0.99) == 198
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) == 0


def test_latencies_come_ordered_from_the_log() -> None:
    assert latencies("1795248897152153\t200\t1207\n1795248897152154\t200\t623\n") == [623, 1207]


def test_a_ratio_is_taken_within_its_round() -> None:
    assert ratios([10.0, 40.0], [10.0, 20.0]) == [1.0, 2.0]


def test_a_row_has_medians_over_the_rounds() -> None:
    reference = [Sample(100, 1.0, cpu * 100_000) for cpu in (10, 20, 10)]
    samples = [Sample(100, 2.0, cpu * 100_000, host_cpu=100_000, p50=0.001, p99=0.004) for cpu in (20, 20, 30)]
    row = summarise("x", samples, reference, 9)
    assert (row.cpu_us, row.cpu_ratio, row.cpu_ratio_low, row.cpu_ratio_high) == (20, 2.0, 1.0, 3.0)
    assert (row.rate, row.rate_ratio, row.host_cpu_us, row.reply_bytes) == (50, 0.5, 1, 9)
    assert row.p50_ms == pytest.approx(1)
    assert row.p99_ms == pytest.approx(4)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert format_columns([["", "us"], ["echo", "1.25"]]).splitlines() == ["        us", "----  ----", "echo  1.25"]


def _table(label: str, key: str, cpu: int, seconds: float, in_flight: int = 1) -> Table:
    reference = [Sample(10, 1.0, 1_000_000)]
    rows = [
        summarise(BARE, reference, reference, 1),
        summarise(label, [Sample(10, seconds, cpu)], reference, 1),
    ]
    return Table(GROUPS[key](), in_flight, rows)


def test_a_table_shows_every_row_and_the_reference_as_one() -> None:
    text = format_table(_table("bridge, async tool", "unary", 1_100_000, 1.0))
    assert "1 in flight" in text
    assert "1.00x" in text
    assert "1.10x" in text


def test_targets_say_whether_the_run_meets_them() -> None:
    tables = [
        _table("bridge, async tool", "unary", 1_300_000, 1.0),
        _table("bridge, async generator", "stream", 1_000_000, 1.05, in_flight=32),
    ]
    found = check(tables, [Start("bridge serve", 150.0, 1.4, 140.0, [150.0])])
    assert [target.met for target in found] == [False, True, True]
    assert str(found[0]).startswith("MISSED")


def test_a_sync_tool_is_judged_by_what_it_adds() -> None:
    inline = _table("bridge, async tool", "unary", 1_100_000, 1.0)
    thread = _table("bridge, sync tool (thread)", "unary", 1_700_000, 1.0)
    found = check([Table(inline.group, 1, [*inline.rows, thread.rows[1]])], [])
    assert [round(target.measured, 3) for target in found] == [1.1, 0.6]


def test_an_uncached_read_is_judged_by_what_it_adds() -> None:
    none = _table("bridge, host process, 0 reads", "variables", 1_200_000, 1.0)
    one = _table("bridge, host process, 1 read", "variables", 3_000_000, 1.0)
    found = check([Table(none.group, 1, [*none.rows, one.rows[1]])], [])
    assert [(round(target.measured, 3), target.met) for target in found] == [(1.8, True)]


def test_cached_reads_are_judged_beside_the_same_tool_that_reads_none() -> None:
    none = _table("bridge, embedded host, reads= of 20, 0 reads", "cached", 2_000_000, 1.0)
    reads = _table("bridge, embedded host, reads= of 20, 20 reads", "cached", 2_400_000, 1.0)
    found = check([Table(none.group, 1, [*none.rows, reads.rows[1]])], [])
    assert [(round(target.measured, 3), target.met) for target in found] == [(1.2, False)]


def test_sets_are_judged_by_cpu_and_by_the_clock() -> None:
    table = _table("bridge host, memory", "sets", 1_250_000, 2.0, in_flight=32)
    assert [(target.measured, target.met) for target in check([table], [])] == [(0.8, True), (0.5, False)]


def test_the_groups_have_the_rows_that_are_judged() -> None:
    labels = {key: [entry.label for entry in make().entries] for key, make in GROUPS.items()}
    assert {"bridge, host process, 0 reads", "bridge, host process, 1 read"} <= set(labels["variables"])
    for where in ("embedded host", "host process"):
        for how in ("reads= of 20", "get_many of 20"):
            assert f"bridge, {where}, {how}, 0 reads" in labels["cached"]
            assert f"bridge, {where}, {how}, 20 reads" in labels["cached"]
    assert [label for label in labels["sets"] if "host, " in label] == [f"bridge host, {store}" for store in STORES]


@pytest.mark.parametrize(("version", "count"), [(0, 1), (100, 100), (127, 1), (16_000, 1000), (2**21 - 2, 5)])
def test_the_replies_to_sets_have_the_bytes_of_their_versions(version: int, count: int) -> None:
    call = SetCall(host_pb2.SetVariableRequest(), version)
    versions = range(version + 1, version + count + 1)
    messages = [host_pb2.SetVariableResponse(version=number) for number in versions]
    assert call.replies(count, 7) == sum(len(frame(message.SerializeToString())) for message in messages)
    assert call.version == version + count


def test_the_recorded_request_is_one_uncompressed_grpc_message() -> None:
    message = request("echo", {"text": "a", "top": 3}, data=b"x", session_id="s")
    body = frame(message.SerializeToString())
    assert body[:5] == b"\0" + len(body[5:]).to_bytes(4, "big")
    again = bridge_pb2.ExecuteToolRequest.FromString(body[5:])
    assert (again.tool_name, again.session_id, dict(again.binary_parameters)) == ("echo", "s", {"data": b"x"})
    assert {name: decode(value) for name, value in again.parameters.items()} == {"text": "a", "top": 3}


def test_a_reply_of_an_unexpected_type_is_refused() -> None:
    response = bridge_pb2.ExecuteToolResponse()
    response.result.Pack(values_pb2.Tensor())
    with pytest.raises(WrongReplyError, match=r"of type .*Tensor"):
        decode(response.result)


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (StringValue(value="a"), "a"),
        (Int64Value(value=3), 3),
        (values_pb2.Json(document=b'{"a":1}'), {"a": 1}),
    ],
)
def test_replies_are_decoded(message: StringValue | Int64Value | values_pb2.Json, value: object) -> None:
    response = bridge_pb2.ExecuteToolResponse()
    response.result.Pack(message)
    assert decode(response.result) == value


def test_the_reference_comes_first_in_every_group() -> None:
    assert {make().entries[0].label for make in GROUPS.values()} == {BARE}


def test_the_cpu_clock_of_a_process_runs() -> None:
    clock = CpuClock(os.getpid())
    before = clock.read()
    sum(range(100_000))
    assert clock.read() > before


def test_there_is_no_cpu_clock_without_a_process() -> None:
    with pytest.raises(OSError, match="no CPU clock"):
        CpuClock(2**22 + 1)


def test_the_load_gets_the_last_core_and_the_servers_the_others() -> None:
    assert split(frozenset({0, 1, 2})) == Cores(frozenset({0, 1}), frozenset({2}))
    assert split(frozenset({0})) == Cores()

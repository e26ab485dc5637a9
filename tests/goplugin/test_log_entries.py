"""What a host makes of a plugin's stderr."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.goplugin.log_entries import LogEntry, LogState, log_entry, parse_line
from bridge.goplugin.log_levels import TRACE

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
SENTENCE = "2006-01-02T15:04:05.000012"


def parse(line: str, state: LogState | None = None) -> LogEntry:
    """The entry in a line."""
    return parse_line(line.encode(), LogState() if state is None else state)


def entry(**values: object) -> LogEntry:
    """The entry in a line of JSON."""
    return parse(json.dumps({name.replace("AT_", "@"): value for name, value in values.items()}))


def test_a_line_of_hclog_s_is_an_entry_with_its_fields() -> None:
    line = (
        '{"@level":"warn","@message":"hi","@module":"kv","@timestamp":"' + SENTENCE + '+02:00",'
        '"a":1,"b":{"c":[null,"é"]}}'
    )
    assert parse(line) == LogEntry(
        message="hi",
        level=WARNING,
        timestamp=datetime(2006, 1, 2, 15, 4, 5, 12, tzinfo=timezone(timedelta(hours=2))),
        module="kv",
        fields={"a": 1, "b": {"c": [None, "é"]}},
    )


@pytest.mark.parametrize(
    ("name", "level"),
    [("trace", TRACE), ("debug", DEBUG), ("info", INFO), ("warn", WARNING), ("error", ERROR), (" Info\t", INFO)],
)
def test_levels_are_those_of_python(name: str, level: int) -> None:
    assert entry(AT_level=name, AT_message="x") == LogEntry(message="x", level=level)


@pytest.mark.parametrize("level", ["off", "warning", "", None, 3, ["warn"]])
def test_json_without_a_level_of_hclog_s_is_shown_as_it_came(level: object) -> None:
    line = json.dumps({"@level": level, "@message": "x", "a": 1})
    assert parse(line) == LogEntry(message=line, level=DEBUG)


@pytest.mark.parametrize("line", ["", "null", "3", '"x"', "[1]", "{", "{} {}", '{"@level":"warn"', "{'a': 1}"])
def test_what_is_no_json_object_is_text(line: str) -> None:
    assert parse(line) == LogEntry(message=line, level=DEBUG)


@pytest.mark.parametrize(("message", "shown"), [(3, "3"), (None, "null"), ({"a": 1}, '{"a":1}'), ("", "")])
def test_a_message_that_is_no_text_is_shown(message: object, shown: str) -> None:
    assert entry(AT_level="info", AT_message=message).message == shown


def test_a_message_need_not_be_there() -> None:
    assert parse('{"@level":"info","a":1}') == LogEntry(message="", level=INFO, fields={"a": 1})


@pytest.mark.parametrize("timestamp", ["yesterday", "2006-01-02T15:04:05.000012", 3, None])
def test_a_time_that_cannot_be_read_is_a_field(timestamp: object) -> None:
    assert entry(AT_level="info", AT_message="x", AT_timestamp=timestamp) == LogEntry(
        message="x", level=INFO, fields={"@timestamp": timestamp}
    )


def test_a_module_that_is_no_text_is_a_field() -> None:
    assert entry(AT_level="info", AT_message="x", AT_module=3) == LogEntry(
        message="x", level=INFO, fields={"@module": 3}
    )


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[TRACE] x", TRACE),
        ("[DEBUG] x", DEBUG),
        ("[INFO]  x", INFO),
        ("[WARN]x", WARNING),
        ("[ERROR] x", ERROR),
        (" [ERROR] x", DEBUG),
        ("[error] x", DEBUG),
        ("[WARNING] x", DEBUG),
        ("plain", DEBUG),
        ("a panic: x", DEBUG),
    ],
)
def test_a_tag_at_the_begin_of_a_line_is_its_level(line: str, level: int) -> None:
    assert parse(line) == LogEntry(message=line, level=level)


@pytest.mark.parametrize("last_words", ["panic: oh", "fatal error: all goroutines are asleep"])
def test_after_its_last_words_what_a_plugin_says_without_a_tag_is_an_error(last_words: str) -> None:
    state = LogState()
    lines = ["before", last_words, "", "goroutine 1 [running]:", "[INFO] x", '{"@level":"debug","@message":"y"}', "{"]
    assert [parse(line, state).level for line in lines] == [DEBUG, ERROR, ERROR, ERROR, INFO, DEBUG, ERROR]


def test_bytes_that_are_no_utf_8_are_replaced_also_in_json() -> None:
    assert parse_line(b"a\xffb", LogState()).message == "a\ufffdb"
    assert parse_line(b'{"@level":"warn","@message":"\xff"}', LogState()) == LogEntry(message="\ufffd", level=WARNING)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5)
HCLOG = st.dictionaries(st.sampled_from(["@level", "@message", "@module", "@timestamp", "x"]), JSON | st.just("info"))


@given(st.binary() | HCLOG.map(json.dumps).map(str.encode))
def test_whatever_a_plugin_writes_can_be_logged(data: bytes) -> None:
    log_entry(logging.getLogger("host.plugin"), parse_line(data, LogState()))


def test_json_that_is_too_deep_is_text() -> None:
    line = '{"a":' * 20_000
    assert parse(line).message == line


def test_an_entry_is_logged_in_words_and_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    logged = LogEntry(
        message="100 %s",
        level=WARNING,
        timestamp=datetime(2006, 1, 2, 15, 4, 5, tzinfo=UTC),
        module="kv.store",
        fields={"plain": "red", "spaced": "a b", "lines": "a\nb", "empty": "", "number": 3, "list": [1, "x"]},
    )
    log_entry(logging.getLogger("host.plugin"), logged)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("host.plugin", WARNING)
    assert record.getMessage() == (
        r'100 %s plain=red spaced="a b" lines="a\nb" empty="" number=3 list=[1,"x"] @module=kv.store'
    )
    assert record.__dict__["fields"] == {
        **logged.fields,
        "@module": "kv.store",
        "@timestamp": "2006-01-02T15:04:05+00:00",
    }


def test_what_the_host_does_not_want_to_know_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(INFO):
        log_entry(logging.getLogger("host.plugin"), LogEntry(message="x", level=TRACE))
    assert not caplog.records

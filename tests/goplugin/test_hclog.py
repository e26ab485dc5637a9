"""A plugin's log on stderr, as hclog writes it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.goplugin.hclog import MAX_LINE, HclogHandler, hclog_line
from bridge.goplugin.log_entries import LogState, parse_line
from bridge.goplugin.log_levels import LEVELS, TRACE

OWN = {"@level", "@message", "@module", "@timestamp"}


class Unprintable:
    """What has no text."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def record(message: object = "hello", *args: object, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    """What a logging call makes."""
    made = logging.LogRecord("my.plugin", level, "", 0, message, args, None)
    made.__dict__.update(fields)
    return made


def written(given_record: logging.LogRecord) -> dict[str, Any]:
    """What a host reads of a record."""
    line = hclog_line(given_record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= MAX_LINE
    found: dict[str, Any] = json.loads(line)
    assert {type(found[key]) for key in OWN & set(found)} == {str}
    return found


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The host's end of a stderr, and the plugin's."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # the test has done that


def test_a_line_is_what_hclog_would_write() -> None:
    assert hclog_line(record("%s apples", 3, created=1136239445.000012, color="red")) == (
        b'{"@level":"info","@message":"3 apples","@timestamp":"2006-01-02T22:04:05.000012Z","@module":"my.plugin",'
        b'"color":"red"}\n'
    )


def test_times_are_in_utc_wherever_the_plugin_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as place:
        place.setenv("TZ", "XXX-05:30")
        time.tzset()
        found = written(record(created=0.999999))
    time.tzset()
    assert found["@timestamp"] == "1970-01-01T00:00:00.999999Z"


@pytest.mark.parametrize(
    ("level", "name"),
    [
        *((number, "trace") for number in (0, 1, TRACE, 9)),
        *((number, "info") for number in (20, 25)),
        *((number, "error") for number in (40, 50, 99)),
        (10, "debug"),
        (30, "warn"),
    ],
)
def test_levels_are_hclog_s(level: int, name: str) -> None:
    assert written(record(level=level))["@level"] == name


def test_the_root_logger_is_no_module() -> None:
    assert "@module" not in written(logging.LogRecord("root", 20, "", 0, "x", (), None))


def test_a_traceback_is_in_stacktrace_with_its_stack() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        failed = record(level=logging.ERROR, exc_info=sys.exc_info(), stack_info="Stack (most recent call last):\n  x")
    found = written(failed)
    assert found["@level"] == "error"
    assert found["stacktrace"].startswith("Traceback (most recent call last):\n")
    assert found["stacktrace"].endswith("ValueError: boom\nStack (most recent call last):\n  x")


def test_values_that_json_or_the_host_s_numbers_cannot_hold_become_text() -> None:
    circle: list[object] = []
    circle.append(circle)
    found = written(
        record(
            values=[1, None, True, 0.5, "é", {"a": (1, 2)}],
            deep=[[[[1]]]],
            odd={1: b"b", "when": datetime(2020, 1, 1, tzinfo=UTC)},
            nan=float("nan"),
            infinite=-float("inf"),
            large=2**53 + 1,
            immense=10**5000,
            surrogate="a\ud800b",
            error=ValueError("no"),
            nothing=Unprintable(),
            nested=[Unprintable()],
            circle=circle,
        )
    )
    assert {key: value for key, value in found.items() if key not in OWN} == {
        "values": [1, None, True, 0.5, "é", {"a": [1, 2]}],
        "deep": [[["[1]"]]],
        "odd": {"1": "b'b'", "when": "2020-01-01 00:00:00+00:00"},
        "nan": "nan",
        "infinite": "-inf",
        "large": str(2**53 + 1),
        "immense": "<int>",
        "surrogate": "a?b",
        "error": "no",
        "nothing": "<Unprintable>",
        "nested": "<list>",
        "circle": [[["[[...]]"]]],
    }


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("%d", ("x",), "(a message that cannot be shown: %d)"),
        ("%s", (Unprintable(),), "(a message that cannot be shown: %s)"),
        (Unprintable(), (), "(a message that cannot be shown: Unprintable)"),
        ({"a": 1}, (), "{'a': 1}"),
        (None, (), "None"),
        ("a\ud800\nb", (), "a?\nb"),
    ],
)
def test_a_message_is_always_text(message: object, args: tuple[object, ...], shown: str) -> None:
    assert written(record(message, *args))["@message"] == shown


def test_no_field_takes_the_place_of_what_hclog_says() -> None:
    taken = {"@message": 1, "@level": 2, "@timestamp": 3, "@module": 4, "_private": 5}
    found = written(record("mine", **taken))
    assert found["@message"] == "mine"
    assert found.keys() == OWN


def test_what_is_too_long_is_cut_and_the_end_of_a_traceback_stays() -> None:
    found = written(record("m" * 100_000, stack_info="s" * 100_000 + "the end", short="whole", many=["x" * 1000] * 90))
    assert found["@message"].endswith("mm…")
    assert found["stacktrace"].endswith("ss" + "the end")
    assert found["stacktrace"].startswith("…ss")
    assert found["many"].endswith("…")
    assert found["short"] == "whole"


def test_containers_are_shown_in_part() -> None:
    found = written(record(some=list(range(1000)), named={str(number): number for number in range(1000)}))
    assert found["some"] == list(range(100))
    assert found["named"] == {str(number): number for number in range(100)}


@pytest.mark.parametrize("text", ["\x00", "😀", '"', "é"])
def test_what_is_long_in_json_is_cut_too(text: str) -> None:
    long: dict[str, Any] = {text * MAX_LINE: text * MAX_LINE}
    assert written(record(text * MAX_LINE, **long))["@message"].startswith(text * 200)


def test_fields_that_are_too_many_are_left_out_and_counted() -> None:
    many: dict[str, Any] = {f"key{number}": "value" for number in range(10_000)}
    found = written(record("m" * MAX_LINE, **many))
    assert found.keys() == OWN | {"@warn"}
    assert found["@warn"].startswith("10000 fields were left out")


def test_the_longest_line_that_fits_is_whole() -> None:
    room = MAX_LINE - len(hclog_line(record("")))
    assert written(record("m" * room))["@message"] == "m" * room
    assert written(record("m" * (room + 1)))["@message"].endswith("…")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
NAMES = TEXTS.filter(lambda name: not name.startswith(("@", "_")) and name not in record().__dict__)


@given(
    message=TEXTS,
    level=st.sampled_from(sorted(LEVELS.values())),
    created=st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6),
    fields=st.dictionaries(NAMES, TEXTS | st.integers(-(2**53), 2**53) | st.booleans() | st.none()),
)
def test_a_host_reads_what_a_plugin_logs(message: str, level: int, created: float, fields: dict[str, Any]) -> None:
    fields = {name: value for name, value in fields.items() if name not in {"message", "asctime", "taskName"}}
    line = hclog_line(record("%s", message, level=level, created=created, **fields))
    entry = parse_line(line.removesuffix(b"\n"), LogState())
    assert (entry.message, entry.level, entry.module, entry.fields) == (message, level, "my.plugin", fields)
    assert entry.timestamp is not None
    assert abs(entry.timestamp.timestamp() - created) < 2e-6


def test_records_below_the_level_are_not_written(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    handler = HclogHandler(pipe[1], level="WARN")
    logger = logging.getLogger("tests.hclog")
    logger.addHandler(handler)
    with caplog.at_level(TRACE):
        logger.info("no")
        logger.warning("yes")
    logger.removeHandler(handler)
    os.close(pipe[1])
    assert [json.loads(line)["@message"] for line in Path(f"/dev/fd/{pipe[0]}").read_bytes().splitlines()] == ["yes"]


def test_a_level_nobody_knows_is_refused() -> None:
    with pytest.raises(BridgeError, match="trace, debug, info, warn, error"):
        HclogHandler(2, "loud")


def test_a_host_that_is_gone_is_nobody_s_problem(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    handler = HclogHandler(pipe[1])
    os.close(pipe[0])
    handler.handle(record())
    os.close(pipe[1])
    handler.handle(record())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_of_several_threads_are_whole_however_slow_the_host_reads(pipe: tuple[int, int], blocking: bool) -> None:
    os.set_blocking(pipe[1], blocking)
    handler = HclogHandler(pipe[1])

    def log(name: str) -> None:
        for number in range(20):
            handler.handle(record(name * 20_000, number=number))

    threads = [threading.Thread(target=log, args=(name,), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    with os.fdopen(os.dup(pipe[0]), "rb") as host:
        lines = [json.loads(host.readline()) for _ in range(80)]
    for thread in threads:
        thread.join(5)
    for name in "abcd":
        own = [line["number"] for line in lines if line["@message"] == name * 20_000]
        assert own == list(range(20))


FORKS = """
import logging, os, threading
from bridge.goplugin.hclog import HclogHandler

handler = HclogHandler(2)
logging.getLogger().addHandler(handler)
held, done = threading.Event(), threading.Event()

def hold():
    with handler.lock:
        held.set()
        done.wait(10)

thread = threading.Thread(target=hold)
thread.start()
held.wait(10)
if (child := os.fork()) == 0:
    logging.warning("from the child")
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
logging.warning("from the parent")
os._exit(status)
"""


def test_a_child_that_is_forked_while_a_line_is_written_can_log() -> None:
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], stderr=subprocess.PIPE, timeout=20, check=True)
    assert [json.loads(line)["@message"] for line in run.stderr.splitlines()] == ["from the child", "from the parent"]

"""A marker tells of an object what the environment allows, and no secret where it says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.snakepit.values import write_result

DETAIL = "SNAKEPIT_UNSERIALIZABLE_DETAIL"
LENGTH = "SNAKEPIT_UNSERIALIZABLE_REPR_MAXLEN"


class Shown:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("secret")


def shown(value: Any) -> Any:
    marker = json.loads(write_result([value])[1])[0]
    assert marker.pop("__ffi_unserializable__") is True
    assert marker.pop("__type__") == f"{__name__}.{type(value).__name__}"
    return marker.pop("__repr__", None)


@pytest.mark.parametrize("detail", ["", "none", "None", "everything"])
def test_nothing_is_told_unless_the_environment_says_so(detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Shown("x")) is None
    monkeypatch.setenv(DETAIL, detail)
    assert shown(Shown("x")) is None


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("type", f"<unserializable {__name__}.Shown>"),
        ("repr_truncated", "password='x'"),
        (" REPR_TRUNCATED ", "password='x'"),
        ("repr_redacted_truncated", "password=<REDACTED>"),
    ],
)
def test_the_environment_says_what_is_told(detail: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETAIL, detail)
    assert shown(Shown("password='x'")) == expected


@pytest.mark.parametrize(
    ("setting", "length"),
    [(None, 500), ("10", 10), ("2000", 2000), ("999999", 2000), ("0", 0), ("-5", 0), ("ten", 500), (" 7 ", 7)],
)
def test_what_is_told_has_a_limit(setting: str | None, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETAIL, "repr_truncated")
    if setting is not None:
        monkeypatch.setenv(LENGTH, setting)
    assert shown(Shown("x" * 5000)) == "x" * length


SECRETS = [
    ("Authorization: Bearer SECRET.abc_def-1==", "Authorization: Bearer <REDACTED>"),
    ("{'Authorization': 'Bearer SECRET'}", "{'Authorization': 'Bearer <REDACTED>'}"),
    ("bearer SECRET, next", "bearer <REDACTED>, next"),
    ("key sk-SECRET7890abc.", "key sk-<REDACTED>."),
    ("api_key='SECRET'", "api_key=<REDACTED>"),
    ('"apikey": "SECRET \\" SECRET", "b": 1', '"apikey": <REDACTED>, "b": 1'),
    ("Client(API-KEY=SECRET, retries=3)", "Client(API-KEY=<REDACTED>, retries=3)"),
    ("{'access_token': 'SECRET'}", "{'access_token': <REDACTED>}"),
    ("client_secret : SECRET", "client_secret : <REDACTED>"),
    ("password=SECRET;", "password=<REDACTED>;"),
    ("token='Bearer SECRET'", "token='Bearer <REDACTED>'"),
    ("a token of thanks", "a token of thanks"),
]


@pytest.mark.parametrize(("text", "expected"), SECRETS)
def test_common_secrets_are_hidden(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETAIL, "repr_redacted_truncated")
    assert shown(Shown(text)) == expected


def test_a_secret_is_hidden_also_where_the_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETAIL, "repr_redacted_truncated")
    monkeypatch.setenv(LENGTH, "8")
    assert shown(Shown("ab sk-SECRET7890abc")) == "ab sk-<R"


@pytest.mark.parametrize("detail", ["repr_truncated", "repr_redacted_truncated"])
def test_an_object_whose_repr_fails_is_still_named(detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETAIL, detail)
    assert shown(Mute()) == f"<repr failed for {__name__}.Mute>"
    assert shown(Shown("\ud800")) == "\\ud800"

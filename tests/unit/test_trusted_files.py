"""Which files may decide what we do, and which may hold secrets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.trusted_files import MAX_FILE_BYTES, alterable, exposed, read_text


def status(mode: int, user: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, user, 0, 0, 0, 0, 0))


OURS = os.geteuid()
THEIRS = 61234


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o444, 0o400])
@pytest.mark.parametrize("user", [OURS, 0])
def test_what_only_we_and_root_can_write_may_decide(mode: int, user: int) -> None:
    assert alterable(status(mode, user)) is None


@pytest.mark.parametrize("mode", [0o620, 0o664, 0o602, 0o646, 0o777])
def test_what_others_can_write_may_not_decide(mode: int) -> None:
    problem = alterable(status(mode, OURS))
    assert problem is not None
    assert f"{mode:04o}" in problem
    assert "chmod go-w" in problem


@pytest.mark.parametrize("look", [alterable, exposed])
def test_what_somebody_else_owns_is_refused_whatever_its_mode(look: Callable[[os.stat_result], str | None]) -> None:
    assert str(THEIRS) in (look(status(0o400, THEIRS)) or "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_secret_of_ours_is_for_nobody_else_to_read(mode: int) -> None:
    assert exposed(status(0o600, OURS)) is None
    problem = exposed(status(mode, OURS))
    assert problem is not None
    assert "chmod 600" in problem


def test_reading_is_of_plain_small_text_only(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, text in ((file, "more than"), (pipe, "no plain file"), (binary, "not text"), (tmp_path / "no", "cannot")):
        with pytest.raises(BridgeError, match=text) as caught:
            read_text(path, "a thing", reason="R")
        assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "R")
        assert str(path) in caught.value.message

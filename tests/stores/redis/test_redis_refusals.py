"""A Redis that refuses, or is not fit to keep sessions: said clearly, and never with the password."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import trustme

from bridge.errors import BridgeError, Code
from bridge.stores.base import QuotaExceeded, Signal
from bridge.stores.redis import RedisStore
from bridge.stores.redis.server import check_server
from tests.support.records import (
    NOW,
    TTL,
    Listener,
    commit,
    create,
    newest,
    read_log,
    value,
)
from tests.support.redis_server import RedisServer
from tests.support.redis_stores import OpenStore, listen, recovered, refusal

SECRET = "hunter2-and-more"


@pytest.mark.parametrize("said", ["", ":wrong-" + SECRET + "@", "nobody:wrong-" + SECRET + "@"])
async def test_wrong_password_is_said_and_not_shown(tmp_path: Path, open_store: OpenStore, said: str) -> None:
    with RedisServer(tmp_path / "redis", tcp=True, password="right") as server:
        url = f"redis://{said}127.0.0.1:{server.port}/0"
        error = await refusal(open_store(url))
        assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "STORE_REFUSED")
        assert "password" in error.message
        assert f"redis://127.0.0.1:{server.port}/0" in error.message
        assert SECRET not in "".join(traceback.format_exception(error))
        store = await open_store(server.url)
        await create(store)


async def test_password_is_never_shown(tmp_path: Path, open_store: OpenStore) -> None:
    with RedisServer(tmp_path / "redis", password=SECRET) as server:
        store = await open_store(server.url)
        await create(store)
        server.kill()
        shown = [repr(store), str(store)]
        for operation in (newest(store), newest(store), listen(store)):
            error = await refusal(operation)
            shown += [repr(error), *traceback.format_exception(error)]
        assert SECRET not in "".join(shown)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/half@127.0.0.1:1/0",
        f"redis://:{SECRET}@127.0.0.1:port/0",
        f"redis://:{SECRET}@127.0.0.1:1/zero",
        f"http://:{SECRET}@127.0.0.1:1/0",
        f"redis://:{SECRET}@127.0.0.1:1/0?no_such_option=1",
        f"redis://:{SECRET}@[::1/0",
    ],
)
async def test_address_that_is_none_is_refused_without_showing_it(open_store: OpenStore, url: str) -> None:
    error = await refusal(open_store(url))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "STORE_REFUSED")
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in repr(RedisStore(url))


async def test_full_server_refuses_to_keep_more_and_still_reads_and_deletes(
    tmp_path: Path, open_store: OpenStore
) -> None:
    with RedisServer(tmp_path / "redis", options=("--maxmemory", "8mb")) as server:
        store = await open_store(server.url)
        await create(store)
        await create(store, "t")
        await create(store, "u")
        await store.read("u", (), NOW + TTL - 1)
        await commit(store, value("small", b"1"), value("ends", b"1", expires_at=NOW + 1), session_id="t")

        async def fill() -> None:
            for number in range(100):
                await commit(store, value(f"v{number}", bytes([number]) * 500_000))

        with pytest.raises(QuotaExceeded) as exceeded:
            await fill()
        assert (exceeded.value.limit, exceeded.value.maximum) == ("max_store_bytes", 8 * 1024 * 1024)
        server.ask("CONFIG", "SET", "maxmemory", "1mb")  # far too much is kept: it can write nothing at all
        held = await newest(store)
        assert 0 < len(held) < 20
        assert (await read_log(store, {"v0": 0})).newest == {"v0": 1}
        assert await newest(store, "t", NOW + 1) == {"small": 1, "ends": 1}
        assert [one.session_id for one in await store.due(NOW + 1, 10)] == ["t"]
        assert {one.session_id for one in await store.due(NOW + TTL, 10)} == {"s", "t"}
        await store.trim("s")
        assert await newest(store) == held
        assert await store.delete_session("s")
        server.ask("CONFIG", "SET", "maxmemory", "8mb")
        await commit(store, value("more", bytes(500_000)), session_id="t")


async def test_replica_is_refused(server: RedisServer, open_store: OpenStore) -> None:
    server.ask("REPLICAOF", "127.0.0.1", "1")
    error = await refusal(open_store(server.url))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "STORE_REFUSED")
    assert "replica" in error.message


async def test_server_that_becomes_a_replica_is_unavailable_until_it_is_none(
    server: RedisServer, open_store: OpenStore
) -> None:
    store = await open_store(server.url)
    await create(store)
    await commit(store, value("a", b"1"))
    server.ask("REPLICAOF", "127.0.0.1", "1")
    error = await refusal(commit(store, value("a", b"1")))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert "replica" in error.message
    server.ask("REPLICAOF", "NO", "ONE")
    await recovered(store)
    await commit(store, value("a", b"1"))
    assert await newest(store) == {"a": 2}


async def test_user_who_may_not_tell_others_commits_nothing(server: RedisServer, open_store: OpenStore) -> None:
    server.ask("ACL", "SETUSER", "mute", "on", ">mute", "~*", "resetchannels", "+@all")
    full, mute = await open_store(server.url), await open_store(server.url.replace("://", "://mute:mute@"))
    await create(full)
    await commit(full, value("a", b"1"))
    error = await refusal(commit(mute, value("a", b"1")))
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert "user" in error.message
    assert "user" in (await refusal(listen(mute))).message
    assert await newest(full) == {"a": 1}


async def test_part_of_a_cluster_is_refused(tmp_path: Path, open_store: OpenStore) -> None:
    with RedisServer(tmp_path / "redis", options=("--cluster-enabled", "yes")) as server:
        error = await refusal(open_store(server.url))
    assert error.code is Code.FAILED_PRECONDITION
    assert "cluster" in error.message


@pytest.mark.parametrize(("version", "is_new_enough"), [("6.0.16", False), ("6.2.0", True), ("7.2.4", True)])
def test_old_servers_are_refused(version: str, is_new_enough: bool) -> None:
    info = f"# Server\r\nredis_version:{version}\r\nmaxmemory:5\r\n".encode()
    if is_new_enough:
        assert check_server(info, "redis://there") == 5
    else:
        with pytest.raises(BridgeError, match=r"6\.2 or later"):
            check_server(info, "redis://there")


async def test_server_that_throws_data_away_is_warned_of(
    tmp_path: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path / "redis", options=options) as server, caplog.at_level(logging.WARNING):
        await open_store(server.url)
    assert "noeviction" in caplog.text


async def test_connection_may_be_encrypted(tmp_path: Path, open_store: OpenStore) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    certificate.cert_chain_pems[0].write_to_path(files["cert"])
    certificate.private_key_pem.write_to_path(files["key"])
    with RedisServer(tmp_path / "redis", tls=(files["cert"], files["key"], files["ca"])) as server:
        store = await open_store(f"{server.url}?ssl_ca_certs={files['ca']}")
        await create(store)
        listener = Listener()
        async with asyncio.timeout(5), store.subscribe("s", listener):
            await commit(store, value("a", bytes(300_000)))
            await listener.told(Signal.CHANGED)
        error = await refusal(open_store(server.url))
        assert error.code is Code.UNAVAILABLE  # nobody vouches for its certificate


def test_without_redis_py_it_says_what_to_install() -> None:
    program = (
        "import asyncio, sys; sys.modules['redis'] = None\n"
        "from bridge.stores.redis import RedisStore\n"
        "asyncio.run(RedisStore('redis://127.0.0.1:1/0').open())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert "FAILED_PRECONDITION" in done.stderr
    assert "pip install 'tool-bridge[redis]'" in done.stderr

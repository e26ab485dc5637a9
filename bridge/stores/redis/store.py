"""A store in Redis, for any number of hosts.

Every method is one script, which Redis runs as a whole, and mostly one round trip. ``transact`` decides on what the
store believes (``views``), and the script commits if that is right; else it answers with what is there.

The times are those of the hosts: a session that ends is ended by the first host whose clock says so, so the clocks of
hosts should agree to within a second. What is acknowledged outlives Redis as far as Redis writes it down: all of it
with ``appendonly yes`` and ``appendfsync always``. All keys of a prefix have one hash tag, and the scripts make some
of them up from what they read, which Redis allows within one server; clusters are refused. Scripts count in floats,
so versions are exact up to 2**53, which no variable reaches.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import BridgeError
from bridge.stores.base import (
    Change,
    Contention,
    Decide,
    Due,
    Log,
    Quota,
    QuotaExceeded,
    SessionGone,
    Signal,
    Snapshot,
    StoredSession,
    Wake,
)
from bridge.stores.redis import scripts
from bridge.stores.redis.failures import NOT_BY_WAITING, Refusal, closed, refused
from bridge.stores.redis.records import pack_change, unpack_payloads, unpack_record
from bridge.stores.redis.server import check_server, unsuitable
from bridge.stores.redis.views import View, Views

if TYPE_CHECKING:
    from bridge.stores.redis.channels import Channels
    from bridge.stores.redis.link import Link

__all__ = ["RedisStore"]

_ATTEMPTS = 32
"""Decisions made in vain before a write gives up."""
_BELIEVED_BYTES = 64 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_SESSION_KEYS = ("session", "heads", "history", "payloads", "references", "expiring")


class RedisStore:
    """A store in Redis.

    Args:
        url: ``redis://[USER:PASSWORD@]HOST:PORT/DB``, ``rediss://`` for TLS, or ``unix:///PATH``; options of redis-py
            may follow, such as ``?ssl_ca_certs=FILE``.
        prefix: what its keys begin with; stores of one prefix share everything, others nothing.
        connect_timeout: seconds to make a connection.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, url: str, *, prefix: str = "bridge", connect_timeout: float = 2.0, timeout: float = 5.0) -> None:
        self._url = url
        self._prefix = prefix
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._shown = "not open"
        self._session_keys = [f"{{{prefix}}}:{kind}:" for kind in _SESSION_KEYS]
        self._due_key = f"{{{prefix}}}:due"
        self._owner_key = f"{{{prefix}}}:owner:"
        self._channel = f"{{{prefix}}}:changes:"
        self._nonce = os.urandom(6).hex()
        self._numbers = itertools.count()
        self._views = Views(_BELIEVED_BYTES)
        self._max_memory = 0
        self._link: Link | None = None
        self._channels: Channels | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r}, prefix={self._prefix!r})"

    async def open(self) -> None:
        """Connects. Raises UNAVAILABLE, or FAILED_PRECONDITION, reason ``STORE_REFUSED``, if that will not help before
        something is changed."""
        try:
            from bridge.stores.redis.address import Address
            from bridge.stores.redis.channels import Channels
            from bridge.stores.redis.link import Link
        except ImportError as error:
            raise unsuitable("a store in Redis needs redis-py: pip install 'tool-bridge[redis]'") from error
        address = Address.parse(self._url)
        self._shown = address.shown

        def link() -> Link:
            return Link(address, connect_timeout=self._connect_timeout, timeout=self._timeout)

        # Channels are those of a whole server, keys those of one of its databases.
        self._channel = f"{{{self._prefix}}}:changes:{address.db}:"
        self._link, self._channels = link(), Channels(link(), address.shown, self._channel)
        try:
            self._max_memory = check_server(await self._call("INFO"), address.shown)
        except BaseException as error:
            await self.aclose()
            if isinstance(error, BridgeError) and error.details.metadata.get("redis_error") in NOT_BY_WAITING:
                raise unsuitable(error.message) from error
            raise

    async def create_session(self, session: StoredSession, expires_at: float, *, max_sessions: int) -> bool:
        """Keeps a session; says whether it did. Raises ``QuotaExceeded``."""
        request = (
            session.session_id,
            session.owner,
            session.created_at,
            session.ttl,
            expires_at,
            self._token(),
            max_sessions,
            self._owner_key,
        )
        answer = await self._run(scripts.CREATE, session.session_id, request, _encode(session))
        if isinstance(answer, bytes):
            raise QuotaExceeded(answer.decode(), max_sessions)
        return bool(answer)

    async def read(self, session_id: str, names: Collection[str] | None, now: float) -> Snapshot | None:
        """Reads a session and the named variables (``None``: all) at one instant, and renews it."""
        wanted = None if names is None else tuple(names)
        view = await self._read(session_id, wanted, now, renew=True)
        if view is None:
            return None
        if wanted is not None:
            self._views.learn(view)
        return view.snapshot(wanted)

    async def transact(
        self, session_id: str, names: Collection[str], decide: Decide, quota: Quota, now: float, *, renew: bool = True
    ) -> Sequence[Change]:
        """Decides and commits. Raises ``SessionGone``, ``QuotaExceeded``, ``Contention``, or what ``decide`` raises."""
        wanted = tuple(names)
        is_sure = False
        for _ in range(_ATTEMPTS):
            view = None if is_sure else self._views.get(session_id, wanted)
            if view is None:
                view = await self._read(session_id, wanted, now, renew=renew)
                if view is None:
                    raise SessionGone
                view = self._views.put(view) if is_sure else self._views.learn(view)
            snapshot = view.snapshot(wanted)
            try:
                changes = decide(snapshot)
            except Exception:
                if is_sure:
                    raise
                is_sure = True  # what is believed may be wrong; what is read next is not
                continue
            is_sure = False
            answer = await self._commit(view, wanted, changes, quota, now, renew)
            if answer is None:
                return changes
            # Those whose commits were refused for the same reason find it here.
            self._views.learn(answer)
        raise Contention

    async def _commit(
        self, view: View, names: tuple[str, ...], changes: Sequence[Change], quota: Quota, now: float, renew: bool
    ) -> View | None:
        """Commits, unless something is not as the view has it; then returns what is there."""
        session_id, token = view.session.session_id, self._token()
        blobs: list[bytes] = []
        request = (
            session_id,
            self._channel + session_id,
            now,
            renew,
            *view.seen(names),
            (quota.max_variables, quota.max_bytes, quota.history_entries, quota.history_bytes),
            [pack_change(change, token, blobs) for change in changes],
        )
        # It is believed before it is known, so that whoever comes next need not wait to decide: commands keep their
        # order, and if this one is refused, those that build on it are too.
        before = view.size
        view.apply(changes, token, now + view.session.ttl if renew else 0.0)
        self._views.resized(view, before)
        answer: Any = None
        try:
            answer = await self._run(scripts.COMMIT, session_id, request, *blobs)
        finally:
            if answer != 1:
                self._views.drop(session_id, view)
        if answer == 1:
            return None
        if answer == 0:
            raise SessionGone
        if isinstance(answer, bytes):
            limit = answer.decode()
            raise QuotaExceeded(limit, quota.max_variables if limit == "max_variables" else quota.max_bytes)
        return View.unpack(answer, names)

    async def _read(self, session_id: str, names: tuple[str, ...] | None, now: float, *, renew: bool) -> View | None:
        request = (now, False if names is None else names, renew)
        answer = await self._run(scripts.READ, session_id, request)
        if answer is None:
            self._views.drop(session_id)
            return None
        return View.unpack(answer, names)

    async def read_log(
        self, session_id: str, after: Mapping[str, int], now: float, *, limit: int, max_bytes: int
    ) -> Log | None:
        """Reads records with versions above those given."""
        request = (now, tuple(after), tuple(after.values()), limit, max_bytes)
        answer = await self._run(scripts.LOG, session_id, request)
        if answer is None:
            return None
        floor, newest, records, payloads = answer
        by_digest = unpack_payloads(payloads)
        taking_turns = iter(newest)
        versions = {name.decode(): version for name, version in zip(taking_turns, taking_turns, strict=True)}
        return Log([unpack_record(record, by_digest) for record in records], versions, floor)

    async def delete_session(self, session_id: str, *, expired_by: float | None = None) -> bool:
        """Removes a session and its variables; says whether it did."""
        signal = Signal.CLOSED if expired_by is None else Signal.EXPIRED
        only_by = False if expired_by is None else expired_by
        request = (session_id, self._channel + session_id, signal.value, only_by, self._owner_key)
        self._views.drop(session_id)
        return bool(await self._run(scripts.DELETE, session_id, request))

    async def list_sessions(self, owner: str, now: float, limit: int) -> list[Snapshot]:
        """The newest sessions of an owner, newest first."""
        request = (now, limit, self._session_keys[0])
        answer = await self._run_on(scripts.LIST, (self._owner_key + owner,), request)
        return [View.unpack(one, ()).snapshot(()) for one in answer]

    async def due(self, now: float, limit: int) -> list[Due]:
        """Sessions whose time is over, or the time of variables in them."""
        request = (now, limit, self._session_keys[0], self._session_keys[-1])
        answer = await self._run_on(scripts.DUE, (self._due_key,), request)
        return [Due(session_id.decode(), [name.decode() for name in names]) for session_id, *names in answer]

    async def trim(self, session_id: str) -> None:
        """Drops history and variables that are gone."""
        self._views.drop(session_id)
        await self._run(scripts.TRIM, session_id, ())

    def subscribe(self, session_id: str, wake: Wake) -> AbstractAsyncContextManager[None]:
        """Tells a listener of everything committed in a session, by whatever host. Entering it raises UNAVAILABLE if
        Redis cannot be reached; after it was away for a while listeners are told ``CHANGED``."""
        if self._channels is None:
            raise closed()
        return self._channels.subscribe(session_id, wake)

    async def aclose(self) -> None:
        """Lets go of the connections."""
        if self._channels is not None:
            await self._channels.aclose()
        if self._link is not None:
            await self._link.aclose()

    def _token(self) -> str:
        """What no other commit has, and no other session: 24 characters."""
        return f"{self._nonce}{next(self._numbers):012x}"

    async def _run(self, script: scripts.Script, session_id: str, request: tuple[Any, ...], *blobs: bytes) -> Any:
        """Runs a script on one session."""
        keys = [kind + session_id for kind in self._session_keys]
        return await self._run_on(script, (*keys, self._due_key), request, *blobs)

    async def _run_on(
        self, script: scripts.Script, keys: tuple[str, ...], request: tuple[Any, ...], *blobs: bytes
    ) -> Any:
        arguments: tuple[str | bytes | int, ...] = (len(keys), *keys, _encode(request), *blobs)
        try:
            return await self._call("EVALSHA", script.digest, *arguments)
        except Refusal:  # it has not seen the script since it was started
            return await self._call("EVAL", script.text, *arguments)

    async def _call(self, *command: str | bytes | int) -> Any:
        """The answer of Redis. Raises ``Refusal`` for a script it does not know, ``QuotaExceeded``, UNAVAILABLE."""
        if self._link is None:
            raise closed()
        try:
            return await self._link.call(*command)
        except Refusal as refusal:
            if refusal.code == "NOSCRIPT":
                raise
            if refusal.code == "OOM":
                raise QuotaExceeded("max_store_bytes", self._max_memory) from None
            if refusal.code == "READONLY":
                self._link.give_up()  # the name may lead to another server by now
            raise refused(self._shown, refusal) from None

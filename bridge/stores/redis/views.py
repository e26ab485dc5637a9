"""What a store believes of sessions, so that it can decide on a change without asking first.

It may be wrong: another host may have committed, and what we sent may have been refused. So a view is only what
decisions are *made* on. The script that commits compares what was seen with what is there, by tokens that no two
commits share, and a decision that was made on anything else is made again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from bridge.stores.base import Change, Snapshot, StoredSession, StoredVariable
from bridge.stores.redis.records import token_of, unpack_head, unpack_payloads

__all__ = ["View", "Views"]

Held = tuple[StoredVariable | None, str]
"""The newest record of a name, and its token; ``None`` and nothing if there is none."""

_NAME_BYTES = 500
"""About what a name takes beside its payload."""

_decode_session = msgspec.msgpack.Decoder(StoredSession).decode


class View:
    """A session and some of its variables, as they are believed to be."""

    __slots__ = ("_count", "_expires_at", "_floor", "_held", "incarnation", "session", "size")

    def __init__(
        self,
        session: StoredSession,
        incarnation: str,
        expires_at: float,
        count: int,
        floor: int,
        held: dict[str, Held],
    ) -> None:
        self.session = session
        self.incarnation = incarnation
        """What tells the session from all others, also of the same id."""
        self._expires_at = expires_at
        self._count = count
        self._floor = floor
        self._held = held
        self.size = sum(map(_size, held.values()))
        """About how many bytes it takes."""

    @classmethod
    def unpack(cls, answer: list[Any], names: Collection[str] | None) -> View:
        """Makes one of a snapshot in the words of the scripts, and the names that were asked for (``None``: all)."""
        session, incarnation, expires_at, count, floor, heads, payloads = answer
        by_digest = unpack_payloads(payloads)
        held: dict[str, Held] = {}
        if names is None:
            for head in heads:
                record = unpack_head(head, by_digest)
                held[record.name] = record, token_of(head)
        else:
            for name, head in zip(names, heads, strict=True):
                held[name] = (None, "") if head is None else (unpack_head(head, by_digest), token_of(head))
        return cls(_decode_session(session), incarnation.decode(), float(expires_at), count, floor, held)

    def holds(self, names: Collection[str]) -> bool:
        """Whether something is believed of all these names."""
        return self._held.keys() >= set(names)

    def snapshot(self, names: Collection[str] | None) -> Snapshot:
        """What is believed, to decide on."""
        held = self._held
        variables = {
            name: record for name in (held if names is None else names) if (record := held[name][0]) is not None
        }
        return Snapshot(self.session, self._expires_at, self._count, self._floor, variables)

    def seen(self, names: Collection[str]) -> tuple[str, int, int, list[str]]:
        """What a decision on these names depends on, for the script that commits."""
        return (
            self.incarnation,
            self._floor,
            self._count,
            [part for name in names for part in (name, self._held[name][1])],
        )

    def apply(self, changes: Sequence[Change], token: str, expires_at: float) -> None:
        """Believes that changes are committed."""
        for change in changes:
            before, newest = self._held[change.name], change.records[-1]
            self._count += (not newest.is_gone) - (before[0] is not None and not before[0].is_gone)
            after = self._held[change.name] = newest, token
            self.size += _size(after) - _size(before)
        self._expires_at = max(self._expires_at, expires_at)

    def learn(self, other: View) -> None:
        """Takes over what another view of the same session knows of names of which this one knows nothing, or less."""
        for name, told in other._held.items():
            held = self._held.get(name)
            if held is None:
                self.size += _size(told)
            elif _version(held) < _version(told):
                self.size += _size(told) - _size(held)
            else:
                continue
            self._held[name] = told
        self._expires_at = max(self._expires_at, other._expires_at)


class Views:
    """The views of the sessions used last.

    Args:
        max_bytes: about what they may take together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._views: OrderedDict[str, View] = OrderedDict()
        self._size = 0

    def get(self, session_id: str, names: Collection[str]) -> View | None:
        """The view of a session, if it holds these names."""
        view = self._views.get(session_id)
        if view is None or not view.holds(names):
            return None
        self._views.move_to_end(session_id)
        return view

    def learn(self, view: View) -> View:
        """Adds what was read to what is believed; returns what is believed then."""
        believed = self._views.get(view.session.session_id)
        if believed is None or believed.incarnation != view.incarnation:
            return self.put(view)
        before = believed.size
        believed.learn(view)
        self.resized(believed, before)
        return believed

    def put(self, view: View) -> View:
        """Believes this and nothing else of a session."""
        session_id = view.session.session_id
        self.drop(session_id)
        self._views[session_id] = view
        self.resized(view, 0)
        return view

    def drop(self, session_id: str, view: View | None = None) -> None:
        """Believes nothing of a session; with a view only if that is what is believed."""
        believed = self._views.get(session_id)
        if believed is not None and (view is None or view is believed):
            del self._views[session_id]
            self._size -= believed.size

    def resized(self, view: View, before: int) -> None:
        """Says that a view had another size before, so that there may be too much."""
        if self._views.get(view.session.session_id) is view:
            self._size += view.size - before
            while self._size > self._max_bytes:
                self.drop(next(iter(self._views)))


def _size(held: Held) -> int:
    return _NAME_BYTES + (len(held[0].payload) if held[0] is not None else 0)


def _version(held: Held) -> int:
    return 0 if held[0] is None else held[0].version

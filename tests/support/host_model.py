"""What the variables of a session should be: of each name a plain list of its changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.variables import UpdateKind, Write

__all__ = ["HISTORY_ENTRIES", "KINDS", "MAX_VARIABLES", "Entry", "HostModel", "Refused", "fit"]

MAX_VARIABLES = 3
HISTORY_ENTRIES = 3
KINDS = {bool: "boolean", int: "integer", float: "float", str: "string", type(None): "json"}
"""The type of a variable that begins with such a value."""


class Entry(msgspec.Struct, frozen=True):
    """A variable after one change."""

    type: str
    value: Any
    ends: float | None = None
    kind: UpdateKind = UpdateKind.CHANGED
    version: int = 0

    def is_live(self, now: float) -> bool:
        """Whether the variable is there."""
        return self.kind in (UpdateKind.CHANGED, UpdateKind.REGISTERED) and (self.ends is None or self.ends > now)


class Refused(Exception):
    """What the host must answer instead of writing; the argument is the reason."""


def fit(type_: str, value: Any) -> Any:
    """The value in a variable of the type."""
    kind = KINDS[type(value)]
    if kind == type_ or (type_ == "json" and not (kind == "float" and math.isinf(value))):
        return value
    if type_ == "float" and kind == "integer":
        return float(value)
    raise Refused("VALUE_REFUSED")


class HostModel:
    """The variables of a session at ``now``."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Entry]] = {}
        """Of each name the changes that are kept, in order."""
        self.floor = 0
        self.now = 0.0

    def live(self, name: str) -> Entry | None:
        """What the variable is, if it is there."""
        newest = self.kept[name][-1] if name in self.kept else None
        return newest if newest is not None and newest.is_live(self.now) else None

    def version(self, name: str) -> int:
        """What somebody who compares and sets has to expect."""
        live = self.live(name)
        return 0 if live is None else live.version

    def check(self, name: str, expected: int | None) -> Entry | None:
        """Refuses who compares and sets, if there is something else; what the variable is."""
        if expected is not None and expected != self.version(name):
            raise Refused("VERSION_MISMATCH")
        return self.live(name)

    def commit(self, decide: Callable[[], Mapping[str, Entry]]) -> dict[str, int]:
        """Commits what is decided. History and what is gone make room for it if there is too little."""
        entries, history = decide(), HISTORY_ENTRIES
        if self.has_too_many(entries):
            self.sweep()
            entries = decide()
            if self.has_too_many(entries):
                raise Refused("LIMIT_EXCEEDED")
        if len(self.kept.keys() | entries.keys()) > MAX_VARIABLES:
            history = 0
            self.sweep()
            self.trim()
            entries = decide()
            if len(self.kept.keys() | entries.keys()) > MAX_VARIABLES:
                raise Refused("LIMIT_EXCEEDED")
        for name, entry in entries.items():
            self.end(name)
            self.append(name, entry)
            del self.kept[name][: -1 - history]
        return {name: self.kept[name][-1].version for name in entries}

    def has_too_many(self, entries: Mapping[str, Entry]) -> bool:
        """Whether there would be too many variables even if all that is gone were forgotten."""
        there = {name for name, own in self.kept.items() if own[-1].kind <= UpdateKind.REGISTERED}
        return not entries.keys() <= there and len(there | entries.keys()) > MAX_VARIABLES

    def append(self, name: str, entry: Entry) -> None:
        """Adds the next version, and drops history there is no room for."""
        own = self.kept.setdefault(name, [])
        version = own[-1].version if own else self.floor
        own.append(msgspec.structs.replace(entry, version=version + 1))
        del own[: -1 - HISTORY_ENTRIES]

    def end(self, name: str) -> None:
        """Writes down that the time of a variable is over, if it is."""
        newest = self.kept[name][-1] if name in self.kept else None
        if newest is not None and newest.kind <= UpdateKind.REGISTERED and not newest.is_live(self.now):
            self.append(name, Entry(newest.type, None, kind=UpdateKind.EXPIRED))

    def sweep(self) -> None:
        """Ends everything whose time is over."""
        for name in self.kept:
            self.end(name)

    def trim(self) -> None:
        """Forgets history and what is gone."""
        newest = {name: own[-1] for name, own in self.kept.items()}
        self.floor = max(
            [self.floor, *(entry.version for entry in newest.values() if entry.kind > UpdateKind.REGISTERED)]
        )
        self.kept = {name: [entry] for name, entry in newest.items() if entry.kind <= UpdateKind.REGISTERED}

    def written(self, write: Write) -> Entry:
        """What a write makes of a variable."""
        current = self.check(write.name, write.expected_version)
        type_ = current.type if current else KINDS[type(write.value)]
        ends = current.ends if current else None
        if write.ttl is not None:
            ends = self.now + write.ttl
        return Entry(type_, fit(type_, write.value), ends)

    def set_together(self, writes: list[Write]) -> dict[str, int]:
        """The new versions, or nothing is written."""
        return self.commit(lambda: {write.name: self.written(write) for write in writes})

    def set_each(self, writes: list[Write]) -> dict[str, int | str]:
        """What can be written, together if there is room, else one half after the other."""
        refused: dict[str, int | str] = {}

        def decide() -> dict[str, Entry]:
            entries: dict[str, Entry] = {}
            for write in writes:
                try:
                    entries[write.name] = self.written(write)
                except Refused as refusal:
                    refused[write.name] = refusal.args[0]
            return entries

        try:
            return refused | self.commit(decide)
        except Refused as refusal:
            if len(writes) == 1:
                return {writes[0].name: refusal.args[0]}
        half = len(writes) // 2
        return self.set_each(writes[:half]) | self.set_each(writes[half:])

    def register(self, name: str, type_: str, value: Any, ttl: int | None) -> int:
        """The new version."""
        ends = None if ttl is None else self.now + ttl
        return self.commit(lambda: {name: Entry(type_, fit(type_, value), ends, UpdateKind.REGISTERED)})[name]

    def delete(self, name: str, expected: int | None) -> None:
        """The variable is gone."""
        current = self.live(name)
        if current is None:
            raise Refused("VARIABLE_NOT_FOUND")
        self.check(name, expected)
        self.append(name, Entry(current.type, None, kind=UpdateKind.DELETED))

    def roll_back(self, name: str, version: int, expected: int | None) -> int:
        """The new version, with the value of an earlier one."""
        if name not in self.kept:
            raise Refused("VARIABLE_NOT_FOUND")
        targets = [one for one in self.kept[name] if one.version == version and one.kind <= UpdateKind.REGISTERED]
        if not targets:
            raise Refused("VERSION_GONE")
        current = self.check(name, expected)
        type_, ends = (targets[0].type, None) if current is None else (current.type, current.ends)
        return self.commit(lambda: {name: Entry(type_, fit(type_, targets[0].value), ends)})[name]

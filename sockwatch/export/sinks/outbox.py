"""What sinks are still to be told: on the disk before anybody tries, and until somebody has succeeded."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from sockwatch.export.sinks.notice import Notice
from sockwatch.export.state_file import StateFile
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.printable import printable

FILE_NAME: Final = "outbox.json"
MOST_WAITING = 2000
"""Notices a sink; beyond, the oldest is dropped."""
_MOST_BYTES = 64 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A notice that a sink has not been told of. `alone` ones were refused together with others."""

    sink: str
    notice: Notice
    attempts: int = 0
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    schema: Literal["sockwatch.outbox/1"] = "sockwatch.outbox/1"
    entries: list[Entry]


class Outbox:
    """Of each alert a sink is to be told of, the newest state, in the order in which the alerts came.

    What is put in is told only when the disk has it. Without a directory, or where that cannot be written, it is kept
    in memory only; save() says so once, and again when the disk holds it. save() is for one thread, all else for any.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = None if directory is None else StateFile(directory, FILE_NAME, most_bytes=_MOST_BYTES)
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[AlertIdentity, Entry]] = {}
        self._ready: dict[str, dict[AlertIdentity, float]] = {}
        self._unsaved: dict[tuple[str, AlertIdentity], int] = {}
        self._version = self._saved = 0
        self._trouble: str | None = None
        for entry in self._load():
            self._waiting.setdefault(entry.sink, {})[entry.notice.identity] = entry

    @property
    def durable(self) -> bool | None:
        """Whether the disk has what is waiting; None if there is no disk for it."""
        return None if self._file is None else self._trouble is None

    def put(self, sink: str, notice: Notice) -> int:
        """Have the sink told, in place of what it was to be told of the same alert; how many had to be dropped."""
        with self._lock:
            waiting = self._waiting.setdefault(sink, {})
            waiting[notice.identity] = Entry(sink=sink, notice=notice)
            self._ready.get(sink, {}).pop(notice.identity, None)
            surplus = list(waiting)[: max(len(waiting) - MOST_WAITING, 0)]
            for identity in surplus:
                self._forget(sink, identity)
            self._version += 1
            if self._file is not None:
                self._unsaved[sink, notice.identity] = self._version
            return len(surplus)

    def take_back(self, sink: str, identity: AlertIdentity) -> None:
        """Have the sink not told of the alert."""
        with self._lock:
            if identity in self._waiting.get(sink, {}):
                self._forget(sink, identity)

    def next(self, sink: str, now: float, most: int) -> tuple[Sequence[Entry], float | None]:
        """What to tell now, at most so much, all of one code and state; and else the seconds until there is something.

        None where nothing waits.
        """
        with self._lock:
            waiting, ready = self._waiting.get(sink, {}), self._ready.get(sink, {})
            due = [
                entry
                for identity, entry in waiting.items()
                if ready.get(identity, now) <= now and (sink, identity) not in self._unsaved
            ]
            if not due:
                return (), min(ready.values()) - now if ready else None
            first = due[0]
            if first.alone:
                return (first,), None
            return [e for e in due if not e.alone and _kind(e) == _kind(first)][:most], None

    def settle(self, entries: Sequence[Entry]) -> None:
        """Forget what needs no more tries; what is newer than these stays."""
        self._change(entries, lambda _: None)

    def postpone(self, entries: Sequence[Entry], until: float) -> None:
        """Count a try that failed; the next comes not before `until`, and after that of others."""
        self._change(entries, lambda entry: replace(entry, attempts=entry.attempts + 1), until)

    def separate(self, entries: Sequence[Entry]) -> None:
        """From now on each is told by itself."""
        self._change(entries, lambda entry: replace(entry, alone=True))

    def keep_only(self, sinks: Collection[str]) -> Mapping[str, int]:
        """Forget what was for others than these; how much that was for each."""
        with self._lock:
            gone = {sink: len(self._waiting.pop(sink)) for sink in self._waiting.keys() - sinks}
            for sink in gone:
                self._ready.pop(sink, None)
            self._version += bool(gone)
            return gone

    def count(self, sink: str) -> int:
        """How many notices wait for it."""
        with self._lock:
            return len(self._waiting.get(sink, {}))

    def save(self) -> None:
        """Return when the disk has what changed before, or has refused it."""
        if self._file is None:
            return
        with self._lock:
            version = self._version
            entries = [entry for waiting in self._waiting.values() for entry in waiting.values()]
        if version == self._saved:
            return
        try:
            self._file.write(msgspec.json.encode(_Stored(entries=entries)))
        except OSError as error:
            self._fail(error.strerror or type(error).__name__)
        else:
            if self._trouble is not None:
                _log.warning("%s: written again", self._file.path)
            self._trouble, self._saved = None, version
        with self._lock:
            self._unsaved = {key: at for key, at in self._unsaved.items() if at > version}

    def go_on_without_disk(self) -> None:
        """The disk does not answer: what waits may be told before the disk has it."""
        if self._file is not None:
            self._fail("the disk does not answer")
        with self._lock:
            self._unsaved.clear()
            self._saved = -1  # until a write has succeeded again

    def _fail(self, why: str) -> None:
        if self._file is not None and why != self._trouble:
            _log.error("%s: %s; alerts are kept in memory until it can be written", self._file.path, why)
        self._trouble = why

    def _change(
        self, entries: Sequence[Entry], changed: Callable[[Entry], Entry | None], until: float | None = None
    ) -> None:
        with self._lock:
            for entry in entries:
                sink, identity = entry.sink, entry.notice.identity
                if self._waiting.get(sink, {}).get(identity) is not entry:
                    continue  # it changed while the sink was told
                self._forget(sink, identity)
                new = changed(entry)
                if new is not None:
                    self._waiting[sink][identity] = new
                if until is not None:
                    self._ready.setdefault(sink, {})[identity] = until

    def _forget(self, sink: str, identity: AlertIdentity) -> None:
        self._waiting[sink].pop(identity)
        self._ready.get(sink, {}).pop(identity, None)
        self._unsaved.pop((sink, identity), None)
        self._version += 1

    def _load(self) -> list[Entry]:
        if self._file is None:
            return []
        try:
            data = self._file.read()
            return [] if data is None else msgspec.json.decode(data, type=_Stored).entries
        except OSError as error:
            _log.error("%s: %s; what waited there is not told", self._file.path, error.strerror)
            self._trouble = error.strerror or type(error).__name__
        except ValueError as error:  # msgspec's DecodeError is one
            self._set_aside(self._file, printable(str(error)))
        return []

    def _set_aside(self, file: StateFile, why: str) -> None:
        try:
            aside = str(file.set_aside())
        except OSError as error:
            aside = f"nowhere ({error.strerror})"
        _log.error("%s: %s; set aside as %s, what waited there is not told", file.path, why, aside)


def _kind(entry: Entry) -> tuple[str, str]:
    return entry.notice.identity.code, entry.notice.state.value

"""Basic authentication with bcrypt hashes; neither guessing nor flooding costs us more than a part of a core."""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from enum import Enum

import bcrypt

from sockwatch.clock import Clock

_REMEMBERED = 100
"""Wrong passwords whose answer is known; as many as the exporter-toolkit keeps."""
_WAITING = 8
_WAITING_PER_CLIENT = 4
_REST = 4.0
"""After a wrong password so many times as long as bcrypt took: a flood of them gets a fifth of a core."""
_MOST_BYTES = 72
"""bcrypt looks no further, and this library raises; Go's, which the exporter-toolkit has, cuts as we do."""


_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""The version, the cost, 22 characters of salt, of which the last has two bits, and 31 of hash."""


class Verdict(Enum):
    """Of one pair of user and password."""

    RIGHT = "right"
    WRONG = "wrong"
    BUSY = "busy"
    """Too many wait to be looked at."""


def credentials(authorization: str) -> tuple[str, bytes] | None:
    """User and password of an Authorization header; None if it is no basic authentication."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user.decode("utf-8", "surrogateescape"), password) if colon else None


def is_hash(text: str) -> bool:
    """Whether bcrypt can compare with it."""
    return _HASH.fullmatch(text) is not None


async def _same(password: bytes, hashed: bytes) -> bool:
    """Ask bcrypt in a thread that does not keep the process alive: with a high cost it takes many seconds."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(same: bool) -> None:  # noqa: FBT001 - a callback
        if not answer.done():
            answer.set_result(same)

    def compare() -> None:
        same = bcrypt.checkpw(password, hashed)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, same)

    threading.Thread(target=compare, name="sockwatch-bcrypt", daemon=True).start()
    return await answer


class Passwords:
    """Users with their hashes. bcrypt runs in one thread at a time; its answers are remembered, right ones for good.

    What is remembered is a keyed digest: the passwords themselves are not kept.
    """

    def __init__(self, users: Mapping[str, str], *, clock: Clock) -> None:
        self._users = dict(users)
        self._nobody = max(users.values(), key=lambda hashed: hashed.split("$")[2])
        self._clock = clock
        self._key = os.urandom(32)
        self._right: set[bytes] = set()
        self._wrong: dict[bytes, None] = {}
        self._running: dict[bytes, tuple[str, asyncio.Task[bool]]] = {}
        self._turn = asyncio.Lock()
        self._rest_until = 0.0

    async def judge(self, user: str, password: bytes, client: str) -> Verdict:
        """Whether this is one of the users. `client` is the address that asks: no one of them can take all places."""
        digest = self._digest(user, password)
        if digest in self._right:
            return Verdict.RIGHT
        if digest in self._wrong:
            return Verdict.WRONG
        if digest not in self._running:
            waiting = [address for address, _ in self._running.values()]
            if len(waiting) >= _WAITING or waiting.count(client) >= _WAITING_PER_CLIENT:
                return Verdict.BUSY
            self._running[digest] = client, asyncio.create_task(self._compare(digest, user, password))
        # Whoever else asks the same meanwhile gets the same answer; one that goes away does not take it from them.
        right = await asyncio.shield(self._running[digest][1])
        return Verdict.RIGHT if right else Verdict.WRONG

    async def _compare(self, digest: bytes, user: str, password: bytes) -> bool:
        try:
            async with self._turn:
                await asyncio.sleep(max(0.0, self._rest_until - self._clock.monotonic()))
                began = self._clock.monotonic()
                hashed = self._users.get(user, self._nobody)
                right = await _same(password[:_MOST_BYTES], hashed.encode()) and user in self._users
                if right:
                    self._right.add(digest)
                else:
                    self._remember_wrong(digest)
                    ended = self._clock.monotonic()
                    self._rest_until = ended + _REST * (ended - began)
                return right
        finally:
            del self._running[digest]

    def _remember_wrong(self, digest: bytes) -> None:
        while len(self._wrong) >= _REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[digest] = None

    def _digest(self, user: str, password: bytes) -> bytes:
        name = user.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(len(name).to_bytes(8) + name + password, key=self._key).digest()

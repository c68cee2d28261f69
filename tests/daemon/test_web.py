"""The web server over reloads, in this process."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from sockwatch.clock import SystemClock
from sockwatch.daemon.web import Web
from sockwatch.model.settings import WebSettings


def web() -> Web:
    return Web(WebSettings(listen=("127.0.0.1:0",)), published=lambda: None, clock=SystemClock())


def counted(web: Web) -> Mapping[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in web.metrics()
        for sample in family.samples
        if sample.value
    }


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def ask(web: Web) -> None:
    """One request that is answered to its end."""
    host, port = web.addresses[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.")
    writer.close()
    await writer.wait_closed()


def test_a_change_that_fails_by_whatever_error_leaves_everything_as_it_was() -> None:
    async def scene() -> None:
        one = web()
        one.start()
        await ask(one)
        before = (one.addresses, descriptors())
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                async with one.change(WebSettings(listen=("127.0.0.2:0",))):
                    raise ZeroDivisionError
        assert (one.addresses, descriptors()) == before
        await ask(one)
        await one.stop()

    asyncio.run(scene())


def test_what_was_counted_before_a_change_stays_counted() -> None:
    async def scene() -> None:
        one = web()
        one.start()
        await ask(one)
        before = counted(one)
        async with one.change(WebSettings(listen=("127.0.0.2:0",))):
            pass
        await ask(one)
        assert {name: 2 * count for name, count in before.items()} == counted(one)
        await one.stop()

    asyncio.run(scene())

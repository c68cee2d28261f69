"""docs/img/top.svg is what the view shows; written anew with --update-golden."""

import asyncio
import re
from pathlib import Path

import pytest

from builders import process, socket
from export.tui import scene
from export.tui.scene import Host, feed_of, leaked, others
from sockwatch.clock import SystemClock
from sockwatch.export.tui.app import Top
from sockwatch.model.state import State

PICTURE = Path(__file__).parents[3] / "docs" / "img" / "top.svg"


def shot() -> str:
    """Without the fonts that it would fetch from elsewhere."""
    full = [
        socket(State.LISTEN, "0.0.0.0:443", inode=60, cookie=60, recv_q=129, send_q=128),
        *[
            socket(State.SYN_SENT, f"10.0.0.1:{40000 + i}", "10.0.0.77:5432", timer=1, retransmits=5, cookie=400 + i)
            for i in range(11)
        ],
    ]
    feed = feed_of(Host([*leaked(), *others(), *full]))
    app = Top(feed, feed.look(), SystemClock(), interval=3600.0)

    async def run() -> str:
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            return app.export_screenshot(title="sockwatch top")

    return re.sub(r"@font-face \{.*?\}\s*", "", asyncio.run(run()), flags=re.DOTALL)


def test_the_picture_in_the_docs_is_what_is_shown(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(scene, "HOSTILE", process(900, "nginx"))
    text = "".join(f"{line.rstrip()}\n" for line in shot().splitlines())
    if request.config.getoption("update_golden"):
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(text, encoding="utf-8")
    assert text == PICTURE.read_text(encoding="utf-8")
    assert not re.search(r"(?:href|url)\W+http", text)

"""What stands where the charts have nothing to draw."""

from typing import Any

import pytest
from playwright.sync_api import expect

from browser import scenes
from browser.conftest import OpenPage
from export.web.serving import Served
from sockwatch.clock import SystemClock
from sockwatch.export.web import status_page
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.frame import StatusPage

pytestmark = pytest.mark.needs_program("chromium-headless-shell")


def history(value: int | None) -> dict[str, Any]:
    """An answer with one series that has this value all the time."""
    one = {"name": "close_wait", "netns": "", "mean": [value] * 3, "high": [value] * 3}
    return {"times": [1.7e9, 1.7e9 + 10, 1.7e9 + 20], "series": [one], "findings": [], "gaps": []}


@pytest.mark.parametrize(
    ("value", "said"), [(0, "No sockets and no findings in this time."), (None, "Nothing is known of this time yet.")]
)
def test_that_there_was_nothing_is_not_that_nothing_is_known(open_page: OpenPage, value: int | None, said: str) -> None:
    last = scenes.healthy()
    with Served(routes=status_page.routes(Live(lambda: last), StatusPage(history=True), SystemClock())) as served:
        page = open_page()
        page.route("**/api/v1/history?*", lambda route: route.fulfill(json=history(value)))
        page.goto(f"http://127.0.0.1:{served.port}/")
        expect(page.locator("#timeline-said")).to_have_text(said)
        page.close()  # before the server: a stream that breaks off is an error to the console

"""A real headless Chromium, and pages that must stay quiet: no error, no dialog, no request to anybody else."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium-headless-shell"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1440, "height": 900}

PATIENCE = 20_000.0
"""Milliseconds for what has to come about; nothing takes that long unless it is broken."""
expect.set_options(timeout=PATIENCE)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(**CONTEXT)` is an empty page; whatever it says or asks for beyond its own host fails the test."""
    pages: list[Page] = []
    noise: list[str] = []

    def refuse(dialog: Dialog) -> None:
        noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def opened(**context: Any) -> Page:
        page = browser.new_context(**({"viewport": DESK} | context)).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("dialog", refuse)
        page.on("request", lambda request: noise.append(f"away: {request.url}") if _is_away(request.url) else None)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert noise == []


def _is_away(url: str) -> bool:
    return urlsplit(url).hostname != "127.0.0.1"

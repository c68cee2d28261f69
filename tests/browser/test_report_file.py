"""The file of `sockwatch report` in a real browser: quiet, whole, and readable on paper."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from export.html_report.stories import HOSTILE, before_and_after, past
from sockwatch.export.html_report.document import render_document
from sockwatch.export.html_report.story import Story

pytestmark = pytest.mark.needs_program("chromium-headless-shell")
SHOWN = HOSTILE.replace("\u202e", "\\u202e")

Opened = Callable[[Story], Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """A file, opened from the disk; whatever it says or asks for fails the test."""
    noise: list[str] = []
    pages: list[Page] = []

    def open_file(story: Story) -> Page:
        file = tmp_path / "report.html"
        file.write_text(render_document(story), encoding="utf-8")
        page = browser.new_context(viewport={"width": 1000, "height": 800}).new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: noise.append(dialog.message))
        page.on("request", lambda request: noise.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_file
    for page in pages:
        page.context.close()
    assert noise == []


def test_before_and_after_is_told_and_hostile_names_are_only_read(opened: Opened) -> None:
    page = opened(before_and_after())
    assert page.title() == "Warning: web1 · sockwatch"
    text = page.inner_text("body")
    assert SHOWN in text
    assert page.locator("script, img, iframe, link, object").count() == 0
    rows = page.locator("#changes tr").all_inner_texts()
    assert [row.split()[0] for row in rows[1:]] == ["new", "new", "changed", "gone"]
    assert page.locator("#findings article").count() == 3
    assert page.locator("#changes article").count() == 1
    assert page.locator("#state-close_wait.warning .count").text_content() == "69"
    assert "net.ipv4.tcp_fin_timeout" in page.inner_text("#sysctls")
    assert "CAP_SYS_PTRACE" in page.inner_text("#not-seen")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000


def test_the_history_is_drawn_and_told_whole(opened: Opened, tmp_path: Path) -> None:
    page = opened(Story(source="history", made=1.7e9, past=past(tmp_path)))
    assert "3 findings, 1 of them open at the last look" in page.inner_text("#verdict")
    assert page.locator("#timeline .episode").count() == 3
    assert page.locator("#timeline .line").count() == 2
    assert page.locator("#timeline .unseen").count() == 2
    assert page.locator("#past-findings article").count() == 3
    assert "What to do" in page.inner_text("#past-findings")
    assert "Permission denied" in page.inner_text("#timeline")
    assert SHOWN in page.inner_text("#past-findings")


def test_it_prints(opened: Opened) -> None:
    paper = opened(before_and_after()).pdf(format="A4")
    assert paper.startswith(b"%PDF")
    assert 1 < paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") + paper.count(b"/Type /Page/") < 9

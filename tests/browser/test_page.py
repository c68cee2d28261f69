"""The status page in a real browser, over prepared polls."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from browser import scenes
from browser.conftest import DESK, PHONE, OpenPage
from export.web.serving import Served

pytestmark = pytest.mark.needs_program("chromium-headless-shell")

CONTRAST = """
() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${element.outerHTML.slice(0, 80)}: ${ratio.toFixed(2)}`);
  }
  return bad;
}
"""
"""Every visible text against what is behind it, by WCAG 2.2 (1.4.3)."""


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as served:
        served.last = scenes.sick()
        yield served


def visit(page: Page, served: Served, path: str = "/") -> Page:
    """The page, when its script has run."""
    page.goto(f"http://127.0.0.1:{served.port}{path}")
    return page


def test_a_phone_shows_verdict_process_and_remedy_without_scrolling(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(viewport=PHONE), served)
    card = page.locator(".card").first
    for part in (page.locator("h1"), card.locator("h3"), card.locator(".who"), card.locator(".remedies")):
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= PHONE["height"]
    expect(page.locator("h1")).to_have_text("Critical")
    expect(card.locator(".who")).to_contain_text("nginx[900]")
    expect(card.locator(".remedies")).to_contain_text("Find out why it does not accept.")


@pytest.mark.parametrize("width", [320, 390, 1440])
def test_nothing_is_wider_than_the_screen(served: Served, open_page: OpenPage, width: int) -> None:
    page = visit(open_page(viewport={"width": width, "height": 844}), served)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(served: Served, open_page: OpenPage, scheme: str) -> None:
    page = visit(open_page(color_scheme=scheme), served)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", paper))) > 200) == (scheme == "light")
    assert page.evaluate(CONTRAST) == []


def test_severity_shows_without_colours(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(), served)
    expect(page.locator(".card.warning .word")).to_have_text("warning")
    expect(page.locator("#state-close_wait")).to_have_accessible_name(
        "close_wait: 23, 23 in findings, warning", timeout=1000
    )
    assert page.locator("#state-close_wait .sign").count() == 1
    assert page.locator("#state-time_wait .sign").count() == 0


def test_it_is_whole_without_javascript(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(java_script_enabled=False), served)
    expect(page.locator("h1")).to_have_text("Critical")
    assert page.locator(".card").count() == 3
    page.locator("#state-close_wait").click()
    expect(page).to_have_url(re.compile(r"/sockets\?state=close_wait$"))
    assert page.locator("#sockets tbody tr").count() == 23
    page.get_by_role("link", name="10.0.0.9", exact=True).click()
    expect(page.locator(".filters .active")).to_have_text(["close_wait", "peer 10.0.0.9"])
    page.get_by_role("link", name="Close", exact=True).click()
    expect(page.locator("h1")).to_have_text("Critical")


def test_keys_reach_a_state_and_its_sockets_and_come_back(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(), served)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "state-close_wait":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#sockets h2")).to_contain_text("close_wait")
    expect(page.locator("#sockets")).to_be_focused()
    assert page.locator("#sockets tbody tr").count() == 23
    page.locator("#sockets .close").press("Enter")
    expect(page.locator("#sockets")).to_be_hidden()
    expect(page.locator("#state-close_wait")).to_be_focused()


def test_back_and_forward_close_and_open_the_sockets(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(), served)
    page.locator("#state-listen").click()
    expect(page.locator("#sockets h2")).to_contain_text("listen")
    page.get_by_role("link", name="nginx").click()
    expect(page.locator("#sockets tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator("#sockets tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("#sockets")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#sockets tbody tr")).to_have_count(2)


def test_a_screen_reader_finds_landmarks_headings_and_the_verdict(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(), served)
    assert [page.locator(name).count() for name in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    assert page.locator("[role=status][aria-live=polite]").inner_text().startswith("Critical")
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.localName[1]))")
    assert all(after - before <= 1 for before, after in pairwise(levels))
    unnamed = "[...document.querySelectorAll('a,button,section,article,svg[role]')].filter((e) => !e.hidden && "
    unnamed += "!(e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim())).length"
    assert page.evaluate(unnamed) == 0
    doubled = "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
    doubled += " return ids.length - new Set(ids).size; })()"
    assert page.evaluate(doubled) == 0


def test_what_others_named_stays_text(served: Served, open_page: OpenPage) -> None:
    served.last = scenes.hostile()
    page = visit(open_page(), served)
    page.locator("#state-close_wait").click()
    expect(page.locator("#sockets tbody tr")).to_have_count(23)
    expect(page.locator("#sockets tbody tr").first).to_contain_text(scenes.HOSTILE)
    page.get_by_role("link", name=scenes.HOSTILE).click()
    expect(page.locator(".filters .active").nth(1)).to_contain_text(scenes.HOSTILE)
    assert page.locator("img").count() == 0
    assert page.get_by_text(scenes.HOSTILE).count() > 12  # in each place, as it is


def test_a_look_that_failed_is_shown_as_that(served: Served, open_page: OpenPage) -> None:
    served.last = scenes.blind()
    page = visit(open_page(), served)
    expect(page.locator("h1")).to_have_text("Unknown")
    expect(page.locator(".verdict .said")).to_have_text("dump: the kernel refused the dump: Permission denied")
    assert set(page.locator(".diagram .count").all_text_contents()) == {"?"}
    assert page.locator("body").inner_text().count("Nothing could be looked at.") == 3
    assert "Nothing wrong" not in page.content()


def test_without_news_the_page_says_that_it_is_not_current(served: Served, open_page: OpenPage) -> None:
    page = open_page()
    page.clock.install()
    visit(page, served)
    expect(page.locator("#stale")).to_be_hidden()
    page.clock.fast_forward(28_000)
    expect(page.locator("#age")).to_have_text(re.compile("2[89] s ago"))
    expect(page.locator("#stale")).to_be_hidden()
    page.clock.fast_forward(20_000)
    expect(page.locator("#stale")).to_be_visible()
    expect(page.locator("#stale")).to_contain_text(re.compile("The last look is 4[89] s old"))


def test_an_old_look_is_not_current_without_javascript_either(served: Served, open_page: OpenPage) -> None:
    served.last = scenes.poll_of(served.last.poll.report, monotonic=0.0, ended=0.5) if served.last else None
    page = visit(open_page(java_script_enabled=False), served)
    expect(page.locator("#stale")).to_be_visible()


def test_until_the_first_look_it_waits_and_then_shows_it(served: Served, open_page: OpenPage) -> None:
    last, served.last = served.last, None
    page = visit(open_page(), served)
    expect(page.locator("h1")).to_have_text("sockwatch has not looked yet.")
    served.last = last
    page.reload()
    expect(page.locator("h1")).to_have_text("Critical")


def test_however_much_there_is_the_page_stays_small(served: Served, open_page: OpenPage) -> None:
    served.last = scenes.crowded()
    page = visit(open_page(), served)
    assert page.locator(".card").count() == 30
    expect(page.locator("#findings > .more")).to_contain_text("and 970 more")
    expect(page.locator("#listeners .more")).to_contain_text("and 988 more")
    assert page.evaluate("document.querySelectorAll('*').length") < 3000


def test_on_paper_there_is_nothing_to_press(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(viewport=DESK), served)
    page.emulate_media(media="print")
    expect(page.locator(".spans")).to_be_hidden()
    expect(page.locator("footer nav")).to_be_hidden()
    expect(page.locator(".card").first).to_be_visible()

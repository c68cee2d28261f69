"""The status page in a real browser, over prepared polls."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

import reports
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
  const styles = (element) => {
    const found = [];
    for (let at = element; at; at = at.parentElement) found.push(getComputedStyle(at));
    return found;
  };
  const behind = (all) => {
    for (const { backgroundColor } of all) {
      const colour = channels(backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const paper = channels(getComputedStyle(document.body).backgroundColor);
  const seen = (colour, all) => {
    const grey = all.some(({ filter }) => filter.includes("grayscale"));
    const level = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2];
    const through = all.reduce((product, { opacity }) => product * Number(opacity), 1);
    return [0, 1, 2].map((i) => (grey ? level : colour[i]) * through + paper[i] * (1 - through));
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const all = styles(element);
    const [a, b] = [channels(all[0].color), behind(all)].map((colour) => light(seen(colour, all)));
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


@pytest.mark.parametrize("age", [0.0, 3600.0])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(served: Served, open_page: OpenPage, scheme: str, age: float) -> None:
    served.clock.ahead = age
    page = visit(open_page(color_scheme=scheme), served)
    expect(page.locator("#stale")).to_be_visible(visible=bool(age))
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


def test_the_sockets_that_are_open_are_in_the_address_until_escape(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(), served)
    page.locator("#state-close_wait").click()
    expect(page).to_have_url(f"http://127.0.0.1:{served.port}/#/sockets?state=close_wait")
    page.reload()
    expect(page.locator("#sockets tbody tr")).to_have_count(23)
    expect(page.locator("h1")).to_have_text("Critical")
    page.keyboard.press("Escape")
    expect(page.locator("#sockets")).to_be_hidden()
    expect(page.locator("#state-close_wait")).to_be_focused()
    expect(page).to_have_url(f"http://127.0.0.1:{served.port}/")
    page.keyboard.press("Escape")
    page.go_back()
    expect(page.locator("#sockets tbody tr")).to_have_count(23)


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
    expect(page.locator("#over h3")).to_have_text("Last known")
    last = page.locator("#over li")
    expect(last).to_have_count(2)
    expect(last.first).to_contain_text("close_wait_leak")
    expect(last.first).to_contain_text("whether it is still so cannot be told now")
    expect(last.nth(1)).to_contain_text("over since")
    assert "counts as over" not in page.content()


def test_without_news_the_page_says_that_it_is_not_current(served: Served, open_page: OpenPage) -> None:
    page = open_page()
    page.clock.install()
    visit(page, served)
    expect(page.locator("#stale")).to_be_hidden()
    page.clock.fast_forward(28_000)
    expect(page.locator("#age")).to_have_text(re.compile("2[89] s ago"))
    expect(page.locator("#stale")).to_be_hidden()
    expect(page).to_have_title("Critical · web1 · sockwatch")
    served.clock.ahead = 48.0
    page.clock.fast_forward(20_000)
    expect(page.locator("#stale")).to_be_visible()
    expect(page.locator("#stale")).to_contain_text(re.compile("The last look is 4[89] s old"))
    expect(page).to_have_title("Not current · web1 · sockwatch")


def test_that_it_is_not_current_is_read_aloud_once(served: Served, open_page: OpenPage) -> None:
    served.clock.ahead = 48.0
    page = open_page()
    page.clock.install()
    visit(page, served)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Not current.")
    assert not re.search(r"\d", alert.text_content() or "")
    expect(page.locator("#stale-age")).to_have_text(re.compile("(48|49|50) s"))
    page.clock.fast_forward(5_000)
    expect(page.locator("#stale-age")).to_have_text(re.compile("5[345] s"))


def test_a_stream_that_went_silent_is_left_for_another(served: Served, open_page: OpenPage) -> None:
    page = open_page()
    page.clock.install()
    with page.expect_request("**/api/v1/events"):
        visit(page, served)
    with page.expect_request("**/api/v1/events"):
        page.clock.fast_forward(60_000)
    expect(page.locator("#age")).to_have_text(re.compile(r"\b\d s ago"))
    expect(page.locator("#stale")).to_be_hidden()
    expect(page).to_have_title("Critical · web1 · sockwatch")


def test_news_that_were_long_on_their_way_are_old(served: Served, open_page: OpenPage) -> None:
    page = open_page()
    page.clock.install()
    with page.expect_request("**/api/v1/events"):
        visit(page, served)
    served.last = scenes.healthy(number=2)
    served.tell()
    expect(page.locator("h1")).to_have_text("Nothing wrong")
    page.clock.fast_forward(25_000)  # and no time passes for the server
    served.last = scenes.poll_of(reports.failed(), number=3)
    served.tell()
    expect(page.locator("h1")).to_have_text("Unknown")
    expect(page.locator("#age")).to_have_text(re.compile("2[5-8] s ago"))


def test_an_old_look_is_not_current_without_javascript_either(served: Served, open_page: OpenPage) -> None:
    served.last = scenes.poll_of(served.last.poll.report, monotonic=0.0, ended=0.5) if served.last else None
    page = visit(open_page(java_script_enabled=False), served)
    expect(page.locator("#stale")).to_be_visible()
    expect(page).to_have_title("Not current · web1 · sockwatch")


def test_when_it_looked_is_said_without_javascript(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(java_script_enabled=False), served)
    last = served.last
    assert last is not None
    looked = datetime.fromtimestamp(last.poll.time, UTC)
    expect(page.locator("#freshness")).to_have_text(f"looked at {looked:%Y-%m-%d %H:%M:%S} UTC, every 10 s")


def test_with_each_look_the_page_says_when_it_was(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(timezone_id="UTC"), served)
    expect(page.locator("#age")).to_contain_text("s ago")
    served.last = replace(scenes.healthy(number=2), poll=replace(scenes.healthy(number=2).poll, time=1_700_000_000.0))
    served.tell()
    expect(page.locator("#looked")).to_have_text("2023-11-14 22:13:20")


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


def test_on_paper_the_sockets_are_there_where_they_are_the_page(served: Served, open_page: OpenPage) -> None:
    page = visit(open_page(color_scheme="dark"), served, "/sockets?state=close_wait&process=app")
    page.emulate_media(media="print")
    assert page.evaluate(CONTRAST) == []
    expect(page.locator("#sockets tbody tr").first).to_be_visible()
    expect(page.locator(".filters .active").first).to_be_visible()
    expect(page.get_by_role("link", name="Close", exact=True)).to_be_hidden()
    visit(page, served).locator("#state-close_wait").click()
    expect(page.locator("#sockets tbody tr")).to_have_count(23)
    expect(page.locator("#sockets")).to_be_hidden()

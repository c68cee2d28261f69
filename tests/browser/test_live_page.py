"""The status page of a real daemon, while a program in a private network namespace goes wrong and right again."""

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.conftest import OpenPage
from daemon.running import SECONDS, Running
from netns import PrivateNetns, forget_kept, keep

pytestmark = [pytest.mark.needs_program("chromium-headless-shell"), pytest.mark.needs_root]

LEAKED = 23
NAME = "<i onload=a()>"
"""What a program may call itself: at most 15 bytes."""
CONFIG = """
[poll]
interval = 0.25
cpu_share = 1.0
seconds = 60
namespaces = "{netns}"
[alerts]
for = 0
keep_firing_for = 0
[detectors.close_wait_leak]
min_age = 0.5
"""


def take_name() -> None:
    """Call this process something that no page may take for markup."""
    Path("/proc/self/comm").write_text(NAME)


def leak(count: int) -> int:
    """So many connections whose peers have closed, held by this process."""
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=count))
    for _ in range(count):
        with socket.create_connection(listener.getsockname()):
            keep(listener.accept()[0])
    port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as netns:
        netns.run(take_name)
        yield netns


@pytest.fixture
def daemon(netns: PrivateNetns, tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path, CONFIG.format(netns=netns.path)) as daemon:
        daemon.until_ready()
        daemon.until(lambda: has_history(daemon), "a history")
        yield daemon


def has_history(daemon: Running) -> bool:
    """Whether it has written the first look; before that the browser would tell of an answer that is none."""
    try:
        with urllib.request.urlopen(f"http://{daemon.address}/api/v1/history", timeout=SECONDS):
            return True
    except urllib.error.HTTPError:
        return False


def count(page: Page, state: str) -> str | None:
    """What the diagram says of a state."""
    return page.locator(f"#state-{state} .count").text_content()


def test_a_leak_appears_is_looked_into_and_ends(netns: PrivateNetns, daemon: Running, open_page: OpenPage) -> None:
    page = open_page()
    page.goto(f"http://{daemon.address}/")
    expect(page.locator("h1")).to_have_text("Nothing wrong")
    assert count(page, "close_wait") == "0"

    port = netns.run(leak, LEAKED)
    expect(page.locator("#state-close_wait .count")).to_have_text(str(LEAKED))
    expect(page.locator("h1")).to_have_text("Warning")
    expect(page).to_have_title(f"Warning · {socket.gethostname()} · sockwatch")
    card = page.locator(".card.warning")
    expect(card.locator("code").first).to_have_text("close_wait_leak/fin_not_seen")
    expect(card.locator(".who strong")).to_have_text(f"{NAME}[{netns.pid}]")
    expect(page.locator("#state-close_wait")).to_have_class("state warning")
    expect(page.locator("#listeners li")).to_contain_text(f"127.0.0.1:{port}")

    # It is open and focused: polls go on, and neither changes.
    card.locator("summary").click()
    page.locator("#state-close_wait").click()
    expect(page.locator("#sockets tbody tr")).to_have_count(LEAKED)
    expect(page.locator(".facets li", has_text=str(LEAKED))).to_have_count(3)
    page.get_by_role("link", name=NAME).click()
    expect(page.locator(".filters .active")).to_have_text(["close_wait", f"process {NAME}"])
    seen = page.locator("#sockets h2 time").get_attribute("datetime") or ""
    expect(page.locator("#sockets h2 time")).not_to_have_attribute("datetime", seen)
    expect(card.locator("details")).to_have_attribute("open", "")
    expect(page.locator("#sockets")).to_be_focused()

    netns.run(forget_kept)
    expect(page.locator("h1")).to_have_text("Nothing wrong")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#state-close_wait .count")).to_have_text("0")
    expect(page.locator("#sockets")).to_contain_text("No socket matches.")

    page.reload()
    expect(page.locator("#chart-state canvas")).to_be_visible()
    expect(page.locator("#chart-state .u-legend")).to_contain_text("close_wait")
    expect(page.locator("#chart-finding .u-legend")).to_contain_text("close_wait_leak/fin_not_seen")
    expect(page.locator("#past-findings .warning")).to_contain_text(NAME)
    page.get_by_role("button", name="24 h").click()
    expect(page.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")


def test_while_the_daemon_hangs_the_page_says_that_it_is_not_current(daemon: Running, open_page: OpenPage) -> None:
    page = open_page()
    page.goto(f"http://{daemon.address}/")
    expect(page.locator("#stale")).to_be_hidden()
    daemon.send(signal.SIGSTOP)
    expect(page.locator("#stale")).to_be_visible()
    daemon.send(signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()

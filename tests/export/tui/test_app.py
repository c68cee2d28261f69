"""The live view, driven as a person would: keys in, text out."""

import re

import pytest
from textual.widgets import DataTable

from export.tui.scene import Host, Screen, leaked, others, play
from sockwatch.errors import DumpError

QUICK = 0.2
VIEWS = ("findings", "states", "processes", "peers", "ports", "listeners", "budgets")


def test_the_first_screen_has_the_verdict_the_process_and_the_states() -> None:
    async def scene(screen: Screen) -> None:
        assert screen.lines[0] == "! warning  web1: 1 warning"
        assert screen.lines[1].startswith("44 sockets (")
        assert "close_wait 23!  established 13  time_wait 7  listen 1" in screen.lines[2]
        assert re.search(r"warning +23 +5 min +close_wait_leak/not_closed", screen.text)
        assert "orders-api[812]" in screen.text
        assert all(key in screen.lines[-1] for key in ("Open", "Filter", "Sort", "Reverse", "Help", "Quit"))

    play(scene)


@pytest.mark.parametrize("size", [(80, 24), (140, 50), (40, 10)])
def test_every_view_fits_the_terminal(size: tuple[int, int]) -> None:
    async def scene(screen: Screen) -> None:
        for key, view in enumerate(VIEWS, 1):
            await screen.press(str(key))
            assert len(screen.lines) == size[1]
            assert max(map(len, screen.lines)) <= size[0]
            if size[0] >= 80:
                assert f" {key} {view}" in screen.lines[3]

    play(scene, size=size)


def test_each_view_lists_what_it_is_called() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("2")
        assert re.search(r"close_wait +23 +- +23 ", screen.text)
        await screen.press("3")
        assert re.search(r"orders-api +24 +- +1 +23 ", screen.text)
        await screen.press("4")
        assert re.search(r"2001:db8::2 +13 +13", screen.text)
        assert re.search(r"10\.0\.0\.9 +23 +- +- +23", screen.text)
        await screen.press("5")
        assert re.search(r"8080 local +31 ", screen.text)
        assert re.search(r"5432 remote +13 ", screen.text)
        await screen.press("6")
        assert re.search(r"0\.0\.0\.0:8080 +orders-api\[812\] +60 +128 +47 %", screen.text)
        await screen.press("7")
        assert "No budget of source ports is used to a tenth." in screen.text

    play(scene)


def test_what_no_process_can_hold_is_not_called_not_known() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("3")
        assert re.search(r"^- +7 +- +- +- +- +7 +-$", screen.text, re.MULTILINE)
        assert "(not known)" not in screen.text
        row = next(i for i, line in enumerate(screen.lines[6:]) if line.startswith("- "))
        await screen.press(*["down"] * row, "enter")
        await screen.until_shown("7 sockets state=time_wait process=")

    play(scene)


def test_columns_that_are_off_the_screen_are_named_until_there_is_room() -> None:
    async def listed(screen: Screen) -> None:
        await screen.press("2", "slash", *"established", "enter", "enter")
        await screen.until_shown("13 sockets state=established")

    async def narrow(screen: Screen) -> None:
        await listed(screen)
        assert "NETNS" not in screen.lines[5]
        assert re.search(r" sockets .*  Right: .*NETNS$", screen.lines[4])
        await screen.press(*["right"] * 60)
        assert "NETNS" in screen.lines[5]

    async def wide(screen: Screen) -> None:
        await listed(screen)
        assert "NETNS" in screen.lines[5]
        assert "Right:" not in screen.text

    play(narrow)
    play(wide, size=(160, 24))


def test_from_a_process_to_its_sockets_to_one_of_them_and_back() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("3", "enter")
        await screen.until_shown("24 sockets process=orders-api")
        assert "orders-api[812]" in screen.text
        await screen.press("slash", *"close_wait")
        await screen.press("enter", "enter")
        await screen.until_shown("one socket, from look to look")
        assert "10.0.0.1:8080 to 10.0.0.9:40000" in screen.text
        assert re.search("state +close_wait", screen.text)
        await screen.press("escape")
        assert "24 sockets process=orders-api; with close_wait" in screen.text
        await screen.press("escape")
        await screen.until_shown("listen ")
        await screen.press("escape")
        assert "PROCESS" in screen.text
        assert "sockets  process" not in screen.text

    play(scene)


def test_from_a_finding_to_what_to_do_to_its_sockets() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("enter")
        assert "who       orders-api[812]" in screen.text
        assert "do        " in screen.text
        assert "Its sockets" in screen.lines[-1]
        await screen.press("enter")
        await screen.until_shown("23 sockets state=close_wait port=8080 side=local process=orders-api")
        assert any(re.fullmatch("Right:( [A-Z-]+)* NETNS", line) for line in screen.lines), screen.text

    play(scene)


def test_a_socket_is_followed_from_look_to_look_until_it_is_gone() -> None:
    host = Host()

    async def scene(screen: Screen) -> None:
        await screen.press("2")
        await screen.press("slash", *"close_wait", "enter", "enter")
        await screen.until_shown("10.0.0.9:40000")
        await screen.press("enter")
        host.rows = [{**leaked(1)[0], "state": 9, "retransmits": 3}, *others()]
        await screen.until_shown("state: close_wait -> last_ack")
        await screen.until_shown("retransmits: 0 -> 3")
        host.rows = others()
        await screen.until_shown("gone; the last look saw it in last_ack")

    play(scene, host, interval=QUICK)


def test_sorting_goes_through_the_columns_and_turns_round() -> None:
    async def scene(screen: Screen) -> None:
        def first() -> str:
            return screen.lines[6].split()[0]

        await screen.press("2")
        assert (first(), "SOCKETS*" in screen.text) == ("close_wait", True)
        await screen.press("r")
        assert first() == "syn_sent"
        await screen.press("s")
        assert "CHANGE*" in screen.text
        for _ in range(4):
            await screen.press("s")
        assert (first(), "STATE*" in screen.text) == ("bound", True)
        await screen.press("r")
        assert first() == "time_wait"

    play(scene)


def test_a_filter_keeps_the_rows_that_have_every_word() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("2", "slash", *"wait time")
        assert "time_wait" in "\n".join(screen.lines[6:-2])
        assert "close_wait" not in "\n".join(screen.lines[6:-2])
        await screen.press("enter")
        assert "with wait time" in screen.lines[4]
        await screen.press("escape")
        assert "close_wait" in "\n".join(screen.lines[6:-2])
        await screen.press("slash", *"nothing", "enter")
        assert "no row has that" in screen.text

    play(scene)


def test_a_filter_of_sockets_takes_conditions_and_says_what_is_wrong_with_one() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("2", "enter")
        await screen.until_shown("23 sockets state=close_wait")
        await screen.press("slash", *"state=time_wait", "enter")
        await screen.until_shown("7 sockets state=time_wait")
        await screen.press("slash", *"x", "enter")
        assert 'unknown state "time_waitx"' in screen.text
        assert "time_wait" in screen.text

    play(scene)


def test_what_changes_is_shown_without_a_key_and_the_cursor_stays_with_its_row() -> None:
    host = Host()

    async def scene(screen: Screen) -> None:
        await screen.press("2", "down", "down")
        table = screen.app.query_one(DataTable)
        assert screen.lines[6 + table.cursor_row].startswith("time_wait")
        host.rows = [*leaked(99), *others(), *[{**row, "cookie": int(row["cookie"]) + 7000} for row in others()[1:]]]
        await screen.until_shown("close_wait 99!")
        await screen.until(lambda: re.search(r"close_wait +99 +\S+ +99 ", screen.text))
        assert screen.lines[6 + table.cursor_row].startswith("time_wait")

    play(scene, host, interval=QUICK)


def test_a_look_that_fails_is_told_and_what_was_seen_before_is_not_called_current() -> None:
    host = Host()

    async def scene(screen: Screen) -> None:
        host.rows = DumpError("the kernel refused the dump: Operation not permitted")
        await screen.until_shown("Not seen for ")
        assert "! warning before. Not seen for" in screen.lines[0]
        assert "the kernel refused" in screen.lines[0]
        host.rows = others()
        await screen.until(lambda: screen.lines[0].startswith("ok  web1: nothing wrong"))

    play(scene, host, interval=QUICK)


def test_while_paused_nobody_looks() -> None:
    host = Host()

    async def scene(screen: Screen) -> None:
        await screen.until(lambda: host.looks > 3)
        await screen.press("p")
        assert "paused" in screen.lines[0]
        await screen.press("2", "enter")
        await screen.until_shown("23 sockets state=close_wait")
        looks = host.looks
        host.rows = others()
        await screen.press("escape", "escape", "3", "enter")
        await screen.until_shown("24 sockets process=orders-api")
        assert host.looks <= looks + 1
        await screen.press("p")
        await screen.until_shown("1 sockets process=orders-api")

    play(scene, host, interval=QUICK)


def test_names_that_a_terminal_or_markup_would_obey_are_escaped() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("3")
        assert r"\x1b[31m[b]x\u202e" in screen.text
        await screen.press("down", "enter")
        await screen.until_shown("13 sockets process=")
        assert r"\x1b[31m[b]x\u202e[900]" in screen.text
        assert "\x1b" not in screen.text
        assert "\u202e" not in screen.text

    play(scene, size=(120, 30))


def test_the_holders_of_what_is_listed_are_asked_for_at_every_look() -> None:
    host = Host()

    async def scene(screen: Screen) -> None:
        await screen.until(lambda: host.looks > 2)
        assert 6000 not in host.named
        await screen.press("4", "slash", *"2001", "enter", "enter")
        await screen.until_shown("13 sockets peer=2001:db8::2")
        await screen.until(lambda: 6000 in host.named)

    play(scene, host, interval=QUICK)


def test_the_keys_are_explained() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("question_mark")
        assert "one socket" in screen.text
        await screen.press("escape")
        assert "SEVERITY" in screen.text

    play(scene)


def test_tab_goes_round_the_views() -> None:
    async def scene(screen: Screen) -> None:
        await screen.press("tab")
        assert "CHANGE" in screen.text
        await screen.press("shift+tab", "shift+tab")
        assert "NONE LEFT IN" in screen.text

    play(scene)

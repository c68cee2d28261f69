"""What happens a second, where it is known."""

from browser import scenes
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.figure import states


def test_without_rates_it_is_said_what_they_take_whichever_look_it_is() -> None:
    last = scenes.poll_of(scenes.healthy().poll.report, scenes.host(), number=200)
    shown = Live(lambda: last).current()
    assert shown is not None
    text = states(shown).text
    assert "What happens a second takes two looks one after the other that did not fail." in text

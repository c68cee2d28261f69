"""Who must not be told."""

import pytest

from reports import leak
from sockwatch.export.alerts.identity import identity_of
from sockwatch.export.alerts.silence import silenced_by
from sockwatch.model.settings import Silence

NOON = 1_900_000_000.0  # 2030-03-17T17:46:40Z
LEAK = leak()
IDENTITY = identity_of(LEAK)


@pytest.mark.parametrize(
    ("silence", "holds"),
    [
        (Silence(), True),
        (Silence(code="close_wait_leak"), True),
        (Silence(code="close_wait"), False),
        (Silence(code="close_*", variant="not?closed"), True),
        (Silence(code="close_*", variant="?not_closed"), False),
        (Silence(process="app", unit="app.service", container=""), True),
        (Silence(process="app", unit="web.service"), False),
        (Silence(netns="h[ao]st"), False),
        (Silence(local="*:8080"), True),
        (Silence(local="10.0.0.1:8080", remote="10.0.0.9:*"), True),
        (Silence(local="10.0.0.2:8080"), False),
        (Silence(until="2030-03-17T17:46:41Z"), True),
        (Silence(until="2030-03-17T17:46:40Z"), False),
        (Silence(until="2030-03-17T18:46:41+01:00"), True),
        (Silence(until="2030-03-17T17:46:41"), True),
        (Silence(until="next week"), False),
        (Silence(code="*" * 200 + "x"), False),
    ],
)
def test_matches_all_patterns_until_it_ends(silence: Silence, *, holds: bool) -> None:
    assert (silenced_by([silence], IDENTITY, LEAK, NOON) is not None) is holds


def test_brackets_of_an_address_stand_for_themselves() -> None:
    finding = leak(subject=leak().subject.__class__(netns="net:[42]", local="[::1]:80", remote="[::1]:*"))
    silence = Silence(netns="net:[42]", local="[::1]:80")
    assert silenced_by([silence], identity_of(finding), finding, NOON)
    assert not silenced_by([Silence(netns="net:4")], identity_of(finding), finding, NOON)


def test_says_why_the_first_that_holds_was_made() -> None:
    silences = [Silence(code="other", why="no"), Silence(why="Ann: deploy"), Silence(why="later")]
    assert silenced_by(silences, IDENTITY, None, NOON) == "Ann: deploy"
    assert silenced_by([Silence()], IDENTITY, None, NOON) == "a silence of the config file"
    assert silenced_by([], IDENTITY, None, NOON) is None

"""Which listeners are shown, and in what order."""

import pytest

from builders import namespace, process, snapshot, socket
from sockwatch.export.web.page import listeners
from sockwatch.export.web.page.listeners import Listener, found_in
from sockwatch.model.address import address_text
from sockwatch.model.state import State

ROWS = [
    socket(State.LISTEN, f"10.0.0.1:{port}", cookie=port, inode=port, recv_q=waiting, send_q=limit)
    for port, (waiting, limit) in enumerate(((0, 128), (64, 128), (128, 128), (1, 0), (0, 0), (0, 128), (0, 128)), 1)
]
SEEN = snapshot(*ROWS, holders={3: [process(812, "app")]})


def test_what_drops_now_comes_first_then_the_fullest_then_what_dropped_most() -> None:
    found = found_in(SEEN, {1: 5, 6: 23, 7: 23}, {1: 5}, 23)
    assert [one.local.rpartition(":")[2] for one in found] == ["1", "3", "4", "2", "6", "7", "5"]
    assert found[0] == Listener(
        netns="host", local="10.0.0.1:1", process=None, waiting=0, limit=128, dropped=5, dropped_now=5
    )
    assert found[1].process == "app"
    assert found[1].dropped is None


def test_of_many_only_those_that_are_shown_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named = []

    def address(hi: int, lo: int) -> str:
        named.append(lo)
        return address_text(hi, lo)

    monkeypatch.setattr(listeners, "address_text", address)
    many = [socket(State.LISTEN, "10.0.0.1:80", cookie=i, inode=i) for i in range(1, 1000)]
    assert len(found_in(snapshot(*many, namespaces=[namespace()]), {}, {}, 12)) == 12
    assert len(named) == 12

from dataclasses import replace

import numpy as np
import pytest

from builders import later, owners, process, snapshot, socket, table
from sockwatch.diagnose import holders as module
from sockwatch.diagnose.holders import BELIEVE_SECONDS, EVERY_SECONDS, Holders, worth_naming
from sockwatch.model.snapshot import UNKNOWN, Cgroup, Gap, Process, Snapshot
from sockwatch.model.state import State

APP, WEB = process(812, "orders-api"), process(900, "nginx")
GAP = Gap(what="owners", why="no permission")


def look(*inodes: int, held: dict[int, list[Process]] | None = None) -> Snapshot:
    """Connections whose cookies are a hundred more than their inodes."""
    rows = (socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.2:{i}", inode=i, cookie=100 + i) for i in inodes)
    return snapshot(*rows, holders=held)


def names(seen: Snapshot) -> list[str | None]:
    found = seen.owners.of(seen.sockets).tolist()
    return [None if i == UNKNOWN else seen.owners.processes[i].name for i in found]


def test_holders_are_believed_until_their_socket_is_gone() -> None:
    known = Holders.seen_in(look(1, 2, 3, held={1: [APP], 2: [WEB], 3: [APP]}))
    assert names(known.complete(later(look(2, 4, 3), 10.0))) == ["nginx", None, "orders-api"]


def test_what_a_look_knows_itself_wins() -> None:
    known = Holders.seen_in(look(1, 2, held={1: [APP], 2: [APP]}))
    now = look(1, 2, held={1: [WEB]})
    complete = known.complete(now)
    assert names(complete) == ["nginx", "orders-api"]
    assert complete.owners.processes == (WEB, APP)


def test_who_holds_nothing_any_more_is_not_named() -> None:
    known = Holders.seen_in(look(1, held={1: [APP]}))
    assert known.complete(look(1, held={1: [WEB]})).owners.processes == (WEB,)


def test_a_process_is_there_once_and_so_are_the_further_holders() -> None:
    known = Holders.seen_in(look(1, 2, held={1: [APP], 2: [APP]}))
    complete = known.complete(look(1, 2, held={1: [APP, WEB]}))
    assert complete.owners.processes == (APP, WEB)
    assert complete.owners.holders(complete.sockets) == (APP, WEB)


def test_a_socket_with_another_cookie_is_another_socket() -> None:
    known = Holders.seen_in(look(1, held={1: [APP]}))
    again = snapshot(socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:1", inode=1, cookie=999))
    assert names(known.complete(again)) == [None]


def test_a_socket_that_has_lost_its_file_is_held_by_nobody() -> None:
    known = Holders.seen_in(look(1, held={1: [APP]}))
    orphan = snapshot(socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.2:1", inode=0, cookie=101))
    assert names(known.complete(orphan)) == [None]
    assert known.complete(orphan).owners.inodes.tolist() == []


def test_without_anything_known_a_look_stays_as_it_is() -> None:
    seen = look(1, 2, held={2: [WEB]})
    assert names(Holders().complete(seen)) == [None, "nginx"]
    assert names(Holders().complete(look())) == []


def test_cgroups_are_remembered_as_well() -> None:
    unit = Cgroup(unit="nginx.service")
    asked = replace(look(1), owners=replace(owners({}), cgroups={7: unit}))
    assert Holders.seen_in(asked).complete(look(1)).owners.cgroups == {7: unit}


def test_the_gap_of_that_time_stays_until_they_are_asked_again() -> None:
    known = Holders.seen_in(replace(look(1), gaps=(GAP, Gap(what="counters", why="odd"))))
    assert known.with_gaps(look(1)).gaps == (GAP,)
    newer = replace(look(1), gaps=(replace(GAP, why="no time"),))
    assert known.with_gaps(newer) is newer


def test_they_are_asked_again_after_a_while() -> None:
    known = Holders.seen_in(look(1))
    assert Holders().are_old(0.0)
    assert not known.are_old(100_000.0 + EVERY_SECONDS - 0.1)
    assert known.are_old(100_000.0 + EVERY_SECONDS)


def test_everything_that_has_a_file_is_worth_naming() -> None:
    assert worth_naming(look(0, 1, 2).sockets).inode.tolist() == [1, 2]


def test_of_too_many_only_listeners_and_one_of_each_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMED", 6)
    rows = [
        socket(State.LISTEN if i < 2 else State.ESTABLISHED, f"10.0.0.1:{i}", inode=1 + i, cgroup=i // 10)
        for i in range(30)
    ]
    assert worth_naming(table(rows)).inode.tolist() == [1, 2, 11, 21]
    listeners = table([socket(State.LISTEN, f"10.0.0.1:{i}", inode=1 + i) for i in range(30)])
    assert np.array_equal(worth_naming(listeners).inode, np.arange(1, 7))


def test_whose_holder_is_known_is_not_asked_for_until_it_is_time_to_verify_all() -> None:
    first = look(1, 2, 3, held={1: [APP], 3: [APP]})
    known = Holders().renewed(first)
    assert Holders().to_ask(first).inode.tolist() == [1, 2, 3]
    soon = later(look(4, 3, 2, 1), EVERY_SECONDS)
    assert known.to_ask(soon).inode.tolist() == [4, 2]
    known = known.renewed(replace(soon, owners=owners({4: [WEB]})))
    assert names(known.complete(look(1, 2, 3, 4))) == ["orders-api", None, "orders-api", "nginx"]
    assert known.asked_at == soon.monotonic
    assert known.to_ask(later(first, BELIEVE_SECONDS - 1)).inode.tolist() == [2]
    at_last = later(first, BELIEVE_SECONDS)
    assert known.to_ask(at_last).inode.tolist() == [1, 2, 3]
    assert not len(known.renewed(replace(at_last, owners=owners({}))).cookie)


def test_who_held_what_has_lost_its_file_stays_known_until_it_is_gone() -> None:
    live = look(1, 2, 3, held={1: [APP], 2: [WEB], 3: [APP]})
    waiting = socket(State.TIME_WAIT, "10.0.0.1:80", "10.0.0.2:1", cookie=101)
    for seconds in (EVERY_SECONDS, BELIEVE_SECONDS):
        rows = [socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:2", inode=2, cookie=102), waiting]
        now = later(snapshot(*rows, holders={2: [WEB]}), seconds)
        known = Holders.seen_in(live).renewed(now)
        assert [known.processes[i].name for i in known.of(now.sockets)] == ["nginx", "orders-api"]
        assert known.complete(now).owners.processes == (WEB,), "nobody holds it any more"
        assert known.renewed(later(snapshot(rows[0]), 2 * seconds)).of(now.sockets).tolist()[1] == UNKNOWN

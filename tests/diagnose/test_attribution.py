from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders import later, process, snapshot, socket, window
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.attribution import Attribution, attribute
from sockwatch.diagnose.holders import Holders
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.role import listeners_of
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Cgroup, Process, Snapshot
from sockwatch.model.state import State

NOW = 1_700_000_000.0 + 100_000.0
SERVICE = 4711
"""The id of a cgroup."""
WEB, WORKER, OTHER = process(5, "web"), process(9, "web"), process(7, "backup")


def at(state: State, local: str = "10.0.0.1:80", remote: str = "10.0.0.2:4000", **columns: Any) -> dict[str, Any]:
    return socket(state, local, remote, **columns)


def started(name: str, seconds_ago: float, **fields: Any) -> Process:
    return process(int(seconds_ago), name, started=NOW - seconds_ago, **fields)


def ages(seconds: float) -> Ages:
    return Ages(lower=np.array([seconds]), upper=np.array([np.nan]))


def in_cgroup(look: Snapshot, cgroup: Cgroup, inside: Sequence[Process] = ()) -> Snapshot:
    """The look with what is known of the cgroup SERVICE."""
    processes = (*look.owners.processes, *inside)
    cgroup = replace(cgroup, processes=tuple(processes.index(p) for p in inside))
    return replace(look, owners=replace(look.owners, processes=processes, cgroups={SERVICE: cgroup}))


def told(look: Snapshot, seconds: float | None = None) -> Attribution:
    seen = Window(current=look)
    mine = look.sockets.take(~look.sockets.is_in_state(State.LISTEN))
    return attribute(seen, mine, mine, None if seconds is None else ages(seconds))


def test_who_holds_a_socket_needs_no_evidence() -> None:
    found = told(snapshot(at(State.CLOSE_WAIT, inode=1), holders={1: [WEB, OTHER]}))
    assert (found.holders, found.evidence) == ((WEB, OTHER), {})


def test_a_descriptor_whose_holder_cannot_be_seen_is_nobodys_guess() -> None:
    listener = at(State.LISTEN, remote="0.0.0.0:0", inode=2)
    assert told(snapshot(at(State.CLOSE_WAIT, inode=1), listener, holders={2: [WEB]})) == Attribution()


@pytest.mark.parametrize("state", [State.TIME_WAIT, State.FIN_WAIT_2, State.LAST_ACK, State.CLOSING])
def test_what_nobody_holds_is_told_by_the_listener_as_a_guess(state: State) -> None:
    listener = at(State.LISTEN, "0.0.0.0:80", "0.0.0.0:0", inode=2)
    found = told(snapshot(at(state), listener, holders={2: [WEB]}))
    assert found.holders == (WEB,)
    assert found.evidence == {"confidence": "medium", "process_from": "the listener on this port"}


def test_an_earlier_look_is_believed_before_the_listener() -> None:
    listener = at(State.LISTEN, "0.0.0.0:80", "0.0.0.0:0", inode=2)
    live = snapshot(at(State.ESTABLISHED, cookie=7, inode=1), listener, holders={1: [OTHER], 2: [WEB]})
    gone = later(snapshot(at(State.TIME_WAIT, cookie=7), listener, holders={2: [WEB]}), 10.0)
    seen = Window(current=gone, history=remember(Window(current=live), live.sockets))
    mine = gone.sockets.in_state(State.TIME_WAIT)
    found = attribute(seen, mine, mine)
    assert found.holders == (OTHER,)
    assert found.evidence == {"confidence": "medium", "process_from": "an earlier look"}


@pytest.mark.parametrize(
    ("state", "listeners", "certain"),
    [(State.CLOSE_WAIT, 1, True), (State.SYN_RECV, 1, True), (State.TIME_WAIT, 1, False), (State.CLOSE_WAIT, 2, False)],
)
def test_the_queue_of_the_only_listener_is_certain(state: State, listeners: int, certain: bool) -> None:  # noqa: FBT001 - a parameter of the test
    rows = [at(State.LISTEN, "0.0.0.0:80", "0.0.0.0:0", inode=2 + i) for i in range(listeners)]
    seen = window(at(state), *rows, holders={2: [WEB], 3: [WORKER]})
    queued = seen.sockets.in_state(state)
    found = attribute(seen, queued, listeners_of(seen.current, queued))
    assert found.holders == (WEB, WORKER)[:listeners]
    assert found.evidence == ({} if certain else {"confidence": "medium", "process_from": "the listener on this port"})


def test_an_orphan_is_told_by_the_only_service_in_the_cgroup_it_was_created_in() -> None:
    look = snapshot(at(State.FIN_WAIT_1, "10.0.0.1:4000", "10.0.0.2:80", cgroup=SERVICE))
    found = told(in_cgroup(look, Cgroup(unit="web.service"), (WEB, WORKER)))
    assert found.holders == (WEB, WORKER)
    assert found.evidence == {
        "confidence": "medium",
        "process_from": "the cgroup they were created in",
        "created_in": "web.service",
    }
    mixed = told(in_cgroup(look, Cgroup(container="0123456789ab"), (WEB, OTHER)))
    assert (mixed.holders, mixed.evidence) == ((), {"created_in": "container 0123456789ab"})
    assert told(in_cgroup(look, Cgroup())) == Attribution()


def test_a_holder_that_started_after_the_socket_inherited_it() -> None:
    old, young = started("web", 500), started("helper", 100)
    look = snapshot(at(State.CLOSE_WAIT, inode=1), holders={1: [old, young]})
    assert told(look, 300.0).evidence == {
        "confidence": "medium",
        "created_by": "web[500]",
        "inherited_by": "helper[100]",
    }
    assert told(look, 99.0).evidence == {}, "both may have opened it"
    orphaned = snapshot(at(State.CLOSE_WAIT, inode=1), holders={1: [young]})
    assert told(orphaned, 300.0).evidence == {
        "confidence": "medium",
        "created_by": "a process that does not hold them any more",
        "inherited_by": "helper[100]",
    }
    assert told(orphaned, 101.0).evidence == {}, "the start is known to a second"


def test_each_socket_is_judged_by_its_own_holders() -> None:
    """22 programs with a socket each, all opened by themselves, in the group of what is left."""
    apps = [started(f"app{i}", 1000 - 40 * i) for i in range(22)]
    rows = [at(State.CLOSE_WAIT, inode=i + 1) for i in range(22)]
    seen = window(*rows, holders={i + 1: [app] for i, app in enumerate(apps)})
    lower = np.array([1000 - 40 * i - 10.0 for i in range(22)])
    aged = Ages(lower=lower, upper=np.full(22, np.nan))
    assert attribute(seen, seen.sockets, seen.sockets, aged).evidence == {}
    child = started("child", 20)
    both = window(*rows, holders={i + 1: [app, *([child] if i == 3 else [])] for i, app in enumerate(apps)})
    assert attribute(both, both.sockets, both.sockets, aged).evidence == {
        "confidence": "medium",
        "created_by": f"app3[{apps[3].pid}]",
        "inherited_by": "child[20]",
    }


def test_a_clock_that_is_set_makes_nobody_an_heir() -> None:
    opener = replace(started("web", 500), since_boot=100_000.0 - 500)
    look = snapshot(at(State.CLOSE_WAIT, inode=1), holders={1: [opener]})
    assert told(replace(look, time=look.time - 3600), 300.0).evidence == {}


GUILTY, INNOCENT = process(11, "guilty"), process(12, "innocent")


def clients(count: int, state: State, first: int = 0, **columns: Any) -> list[dict[str, Any]]:
    numbers = range(first, first + count)
    return [at(state, f"10.0.0.1:{4000 + i}", "10.0.0.2:80", cookie=1 + i, **columns) for i in numbers]


def with_a_file(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [row | {"inode": row["cookie"]} for row in clients(count, State.ESTABLISHED, first)]


def test_who_made_260_of_262_sockets_is_named_and_not_who_holds_the_two_live_ones() -> None:
    live = snapshot(*with_a_file(260), holders={1 + i: [GUILTY] for i in range(260)})
    gone = snapshot(*clients(260, State.TIME_WAIT), *with_a_file(2, 260), holders={261: [INNOCENT], 262: [INNOCENT]})
    remembered = remember(Window(current=live), live.sockets)
    for seen in (
        Window(current=gone, history=remembered),
        Window(current=gone, holders=Holders.seen_in(live)),
    ):
        found = attribute(seen, gone.sockets, gone.sockets)
        assert found.holders == (GUILTY, INNOCENT)
        assert found.evidence == {"confidence": "medium", "process_from": "an earlier look", "process_holds": 260}


def test_who_holds_one_of_many_is_not_taken_for_the_holder_of_all() -> None:
    seen = window(*with_a_file(1000), holders={7: [INNOCENT]})
    found = attribute(seen, seen.sockets, seen.sockets)
    assert (found.holders, found.evidence) == ((INNOCENT,), {"confidence": "medium", "process_holds": 1})


def test_an_earlier_look_that_knew_one_of_many_comes_after_the_listener() -> None:
    live = snapshot(*with_a_file(1), holders={1: [INNOCENT]})
    orphans = [row | {"sport": 80} for row in clients(1000, State.FIN_WAIT_2)]
    listener = at(State.LISTEN, "0.0.0.0:80", "0.0.0.0:0", inode=5000, cookie=5000)
    gone = snapshot(*orphans, listener, holders={5000: [WEB]})
    history = remember(Window(current=live), live.sockets)
    mine = gone.sockets.in_state(State.FIN_WAIT_2)
    assert attribute(Window(current=gone, history=history), mine, mine).holders == (WEB,)
    nobody = snapshot(*orphans)
    found = attribute(Window(current=nobody, history=history), nobody.sockets, nobody.sockets)
    assert found.holders == (INNOCENT,)
    assert found.evidence == {"confidence": "medium", "process_from": "an earlier look", "process_holds": 1}


@pytest.mark.parametrize(
    ("cgroup", "said"),
    [
        (Cgroup(unit="systemd-socket.service"), "systemd-socket.service"),
        (Cgroup(container="0123456789ab", unit="x.scope"), "container 0123456789ab"),
        (Cgroup(gone=True), "a cgroup that was removed since"),
        (Cgroup(unit="web.service"), None),
        (Cgroup(), None),
    ],
)
def test_a_socket_that_was_created_in_another_service_is_said_to_be(cgroup: Cgroup, said: str | None) -> None:
    held = snapshot(
        at(State.CLOSE_WAIT, inode=1, cgroup=SERVICE), holders={1: [replace(WEB, unit="web.service"), OTHER]}
    )
    assert told(in_cgroup(held, cgroup)).evidence == ({"created_in": said} if said else {})


def test_the_listeners_of_what_nobody_holds_are_looked_up() -> None:
    """Orphans in FIN_WAIT_2 that have been there for half a minute, on a port that is listened on."""
    orphans = [
        at(State.FIN_WAIT_2, remote=f"10.0.0.2:{4000 + i}", timer=3, expires_ms=1000, cookie=50 + i) for i in range(23)
    ]
    listener = at(State.LISTEN, "0.0.0.0:80", "0.0.0.0:0", inode=2, cookie=9)
    detectors = load_detectors()
    wanted = find_follow_up(window(*orphans, listener), detectors)
    assert wanted.suspects.cookie.tolist().count(9) == 1
    findings, _ = diagnose(window(*orphans, listener, holders={2: [WEB]}), detectors)
    [finding] = [f for f in findings if f.name == "fin_wait_2_stuck/orphaned"]
    assert finding.subject.process == WEB
    assert finding.evidence["process_from"] == "the listener on this port"

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings, strategies as st

from builders import namespace, owners, process, snapshot, socket
from export.metrics.pages import Series, counted, namespaces, page, series, total, value
from sockwatch.export.metrics.labels import OTHER
from sockwatch.model.snapshot import Cgroup, Snapshot
from sockwatch.model.state import State

LOCAL = {False: "10.0.0.1", True: "[2001:db8::1]"}


def positive(found: Series) -> dict[tuple[str, ...], float]:
    """The label values of what is more than 0."""
    return {tuple(text for _, text in labels): number for labels, number in found.items() if number}


@st.composite
def looks(draw: st.DrawFn) -> Snapshot:
    """A few sockets in up to three namespaces, some held by processes, some of which have the same name."""
    inside = draw(st.integers(1, 3))
    rows: list[dict[str, Any]] = []
    for i in range(draw(st.integers(0, 40))):
        state, v6 = draw(st.sampled_from([*State])), draw(st.booleans())
        port, netns = draw(st.sampled_from([80, 443, 8080])), draw(st.integers(0, inside - 1))
        rows.append(socket(state, f"{LOCAL[v6]}:{port}", f"{LOCAL[v6]}:{9 + i}", inode=1 + i, netns=netns))
    held = {1 + i: [process(100 + i % 5, f"app{i % 3}")] for i in range(len(rows)) if draw(st.booleans())}
    return snapshot(*rows, namespaces=namespaces(inside), holders=held)


@given(looks())
@settings(max_examples=40, deadline=None)
def test_every_socket_is_counted_once_in_each_way(look: Snapshot) -> None:
    exposition = page(look)
    sockets = look.sockets
    states = [State(int(number)).label for number in sockets.state]
    netns = [look.namespaces[int(i)].name for i in sockets.netns]
    families = ["ipv6" if family == 10 else "ipv4" for family in sockets.family]
    assert positive(series(exposition, "sockwatch_sockets")) == Counter(zip(families, netns, states, strict=True))

    ports = [str(port) for port in sockets.sport]
    listened = {(n, p) for n, p, s in zip(netns, ports, states, strict=True) if s == "listen"}
    on = [(n, p, s) for n, p, s in zip(netns, ports, states, strict=True) if (n, p) in listened]
    assert positive(series(exposition, "sockwatch_listener_sockets")) == Counter(on)

    names = [look.owners.processes[i].name if i >= 0 else "" for i in look.owners.of(sockets)]
    by_process = Counter((name, state, "") for name, state in zip(names, states, strict=True))
    assert positive(series(exposition, "sockwatch_process_sockets")) == by_process


def test_every_state_is_there_at_zero_for_both_families() -> None:
    found = series(page(snapshot()), "sockwatch_sockets")
    assert {(dict(labels)["family"], dict(labels)["state"]) for labels in found} == {
        (family, state.label) for family in ("ipv4", "ipv6") for state in State
    }
    assert set(found.values()) == {0.0}


def test_a_socket_of_ipv6_with_an_ipv4_address_is_of_ipv6() -> None:
    exposition = page(snapshot(socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.9:9", family=10)))
    assert value(exposition, "sockwatch_sockets", netns="host", family="ipv6", state="established") == 1


def test_what_this_kernel_does_not_list_is_absent() -> None:
    old = replace(namespace(), lists_bound=False)
    look = snapshot(socket(State.LISTEN, "10.0.0.1:80", inode=1), namespaces=[old], holders={1: [process(1)]})
    exposition = page(look)
    for name in ("sockwatch_sockets", "sockwatch_listener_sockets", "sockwatch_process_sockets"):
        states = {dict(labels)["state"] for labels in series(exposition, name)}
        assert states == {state.label for state in State} - {"bound", "close"}


def test_the_largest_namespaces_have_series_of_their_own_the_initial_one_always() -> None:
    rows = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.9:{n}", netns=i) for i in range(1, 9) for n in range(i)]
    exposition = page(snapshot(*rows, namespaces=namespaces(9)), namespaces=3)
    shown = {dict(labels)["netns"] for labels in series(exposition, "sockwatch_sockets")}
    assert shown == {"host", "n008", "n007", OTHER}
    assert total(exposition, "sockwatch_sockets", netns=OTHER) == sum(range(1, 7))
    assert value(exposition, "sockwatch_series_folded", metric="sockwatch_sockets") == 6 * 24
    assert value(exposition, "sockwatch_namespaces") == 9


def test_of_equally_large_namespaces_the_first_by_name_are_shown_in_whatever_order_they_come() -> None:
    host, *others = namespaces(9)
    for order in (others, others[::-1]):
        shown = series(page(snapshot(namespaces=[*order, host]), namespaces=3), "sockwatch_sockets")
        assert {dict(labels)["netns"] for labels in shown} == {"host", "n001", "n002", OTHER}


def test_a_namespace_that_is_called_other_is_counted_there() -> None:
    rows = [socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.9:9", netns=1)]
    called = replace(namespace(OTHER), inode=2, initial=False)
    for every in ([namespace(), called], [namespace(), called, *namespaces(5)[1:]]):
        exposition = page(snapshot(*rows, namespaces=every), namespaces=2)
        assert total(exposition, "sockwatch_sockets", netns=OTHER) == 1
        assert counted(exposition, "sockwatch_sockets") == 24 * min(len(every), 3)


def test_the_queue_of_a_listener_is_a_share_and_of_several_the_fullest() -> None:
    rows = [
        socket(State.LISTEN, "0.0.0.0:80", recv_q=32, send_q=128),
        socket(State.LISTEN, "0.0.0.0:80", recv_q=96, send_q=128),
        socket(State.LISTEN, "[::]:80", recv_q=129, send_q=128),
        socket(State.LISTEN, "127.0.0.1:81", recv_q=1, send_q=0),
    ]
    assert {dict(labels)["listener"]: n for labels, n in series(page(snapshot(*rows)), QUEUE).items()} == {
        "0.0.0.0:80": 0.75,
        "[::]:80": 129 / 128,
        "127.0.0.1:81": 1.0,
    }


QUEUE = "sockwatch_listener_queue_ratio"


def test_the_fullest_queues_have_series_of_their_own_and_the_fullest_of_the_others_is_other() -> None:
    rows = [socket(State.LISTEN, f"10.0.0.1:{80 + i}", recv_q=i, send_q=10) for i in range(9)]
    found = series(page(snapshot(*rows), top=2), QUEUE)
    assert {dict(labels)["listener"]: n for labels, n in found.items()} == {
        "10.0.0.1:88": 0.8,
        "10.0.0.1:87": 0.7,
        OTHER: 0.6,
    }


def test_processes_are_told_apart_by_name_and_unit_and_never_by_pid() -> None:
    held = {
        1: [process(1, "java", unit="a.service")],
        2: [process(2, "java", unit="b.service")],
        3: [process(3, "java", unit="b.service")],
        4: [process(4, "java")],
    }
    rows = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.9:{i}", inode=i) for i in range(6)]
    assert positive(series(page(snapshot(*rows, holders=held)), "sockwatch_process_sockets")) == {
        ("java", "established", "a.service"): 1,
        ("java", "established", "b.service"): 2,
        ("java", "established", ""): 1,
        ("", "established", ""): 2,
    }


def test_those_who_hold_most_are_shown_and_the_unknown_always() -> None:
    held = {1 + i: [process(1 + i % 5, f"app{i % 5}")] for i in range(15 + 5)}
    rows = [socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.9:{i}", inode=i) for i in range(18)]
    exposition = page(snapshot(*rows, holders=held), top=2)
    assert positive(series(exposition, "sockwatch_process_sockets")) == {
        ("app0", "established", ""): 4,
        ("app1", "established", ""): 4,
        (OTHER, "established", ""): 9,
        ("", "established", ""): 1,
    }
    assert value(exposition, "sockwatch_series_folded", metric="sockwatch_process_sockets") == 3 * 12


def test_without_a_known_process_the_cgroup_tells_the_unit() -> None:
    rows = [
        socket(State.ESTABLISHED, "10.0.0.1:80", f"10.0.0.9:{i}", inode=i, cgroup=cgroup)
        for i, cgroup in enumerate([7, 7, 7, 8, 9, 1, 0])
    ]
    known = owners({1: [process(1, "nginx", unit="nginx.service")]})
    cgroups = {7: Cgroup(unit="nginx.service"), 8: Cgroup(unit="app.service"), 9: Cgroup(container="0123456789ab")}
    look = replace(snapshot(*rows), owners=replace(known, cgroups=cgroups))
    assert positive(series(page(look), "sockwatch_process_sockets")) == {
        ("nginx", "established", "nginx.service"): 1,
        ("", "established", "nginx.service"): 2,
        ("", "established", "app.service"): 1,
        ("", "established", ""): 3,
    }


def test_a_state_that_was_not_read_is_absent_and_all_others_are_there() -> None:
    look = snapshot(
        socket(State.LISTEN, "0.0.0.0:80", inode=1),
        socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.9:40001", inode=2),
        namespaces=[replace(namespace(), counted={State.TIME_WAIT: 23})],
    )
    for name in ("sockwatch_sockets", "sockwatch_listener_sockets", "sockwatch_process_sockets"):
        found = {dict(labels)["state"] for labels in series(page(look), name)}
        assert found == {state.label for state in State} - {"time_wait"}

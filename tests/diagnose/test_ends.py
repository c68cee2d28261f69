from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from builders import namespace, owners, process, snapshot, socket, table
from sockwatch.diagnose.ends import NOT_HERE, describe_ends, find_ends, other_ends, peer_is_local
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

A = "10.0.0.1:8080", "10.0.0.7:40000"
B = A[1], A[0]

endpoints = st.tuples(st.sampled_from(("10.0.0.1", "10.0.0.2", "[::1]")), st.sampled_from((80, 81, 40000)))
Key = tuple[int, tuple[str, int], tuple[str, int]]
"""Namespace, local and remote end."""
states = st.sampled_from((State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2, State.LISTEN, State.BOUND))


def look(*rows: dict[str, Any]) -> Snapshot:
    return snapshot(*rows, namespaces=[namespace(), namespace("web")])


@given(st.lists(st.tuples(st.integers(0, 1), endpoints, endpoints, states), max_size=30))
def test_other_ends_are_those_of_a_dict_of_tuples(
    drawn: Sequence[tuple[int, tuple[str, int], tuple[str, int], State]],
) -> None:
    unique = {(netns, local, remote): state for netns, local, remote, state in drawn}
    rows = [
        socket(state, f"{local[0]}:{local[1]}", f"{remote[0]}:{remote[1]}", netns=netns)
        for (netns, local, remote), state in unique.items()
    ]
    connected = {
        key: row for row, (key, state) in enumerate(unique.items()) if state not in {State.LISTEN, State.BOUND}
    }
    seen = look(*rows)
    expected = [
        NOT_HERE if local == remote else connected.get((netns, remote, local), elsewhere(key, unique, connected))
        for key in unique
        for netns, local, remote in [key]
    ]
    assert other_ends(seen, seen.sockets).tolist() == expected


def elsewhere(key: Key, every: Iterable[Key], connected: Mapping[Key, int]) -> int:
    """The only one in another namespace, where no two namespaces have one of the addresses."""
    _, local, remote = key
    found = [row for (_, a, b), row in connected.items() if (a, b) == (remote, local)]
    alike = [row for (_, a, b), row in connected.items() if (a, b) == (local, remote)]
    owners = [{netns for netns, (address, _), _ in every if address == end} for end, _ in (local, remote)]
    loopback = "[::1]" in {local[0], remote[0]}
    unsure = loopback or len(found) != 1 or len(alike) != 1 or any(len(namespaces) > 1 for namespaces in owners)
    return NOT_HERE if unsure else found[0]


def test_no_sockets_have_no_ends() -> None:
    assert not len(other_ends(look(), table([])))
    assert not len(peer_is_local(look(), table([])))


def test_a_v4_mapped_socket_is_the_other_end_of_an_ipv4_one() -> None:
    seen = look(socket(State.CLOSE_WAIT, *A, family=10), socket(State.FIN_WAIT_2, *B))
    assert other_ends(seen, seen.sockets).tolist() == [1, 0]


def test_a_socket_connected_to_itself_has_no_other_end() -> None:
    seen = look(socket(State.ESTABLISHED, "127.0.0.1:40000", "127.0.0.1:40000"))
    assert other_ends(seen, seen.sockets).tolist() == [NOT_HERE]


def test_the_ends_of_a_connection_between_two_namespaces_find_each_other() -> None:
    seen = look(socket(State.CLOSE_WAIT, *A), socket(State.FIN_WAIT_2, *B, netns=1))
    assert other_ends(seen, seen.sockets).tolist() == [1, 0]


def test_an_end_in_the_same_namespace_comes_first() -> None:
    rows = [socket(State.CLOSE_WAIT, *A), socket(State.FIN_WAIT_2, *B), socket(State.FIN_WAIT_2, *B, netns=1)]
    seen = look(*rows)
    assert other_ends(seen, seen.sockets).tolist() == [1, 0, NOT_HERE]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            [
                socket(State.CLOSE_WAIT, "127.0.0.1:8080", "127.0.0.2:40000"),
                socket(State.FIN_WAIT_2, "127.0.0.2:40000", "127.0.0.1:8080", netns=1),
            ],
            id="loopback",
        ),
        pytest.param(
            [
                socket(State.CLOSE_WAIT, *A),
                socket(State.FIN_WAIT_2, *B, netns=1),
                socket(State.ESTABLISHED, *A, netns=2),
            ],
            id="the same four-tuple in two namespaces",
        ),
        pytest.param(
            [
                socket(State.CLOSE_WAIT, *A),
                socket(State.FIN_WAIT_2, *B, netns=1),
                socket(State.FIN_WAIT_2, *B, netns=2),
            ],
            id="two that may be the other end",
        ),
        pytest.param(
            [
                socket(State.CLOSE_WAIT, *A),
                socket(State.FIN_WAIT_2, *B, netns=1),
                socket(State.ESTABLISHED, "10.0.0.7:5000", "10.0.0.1:6000", netns=2),
            ],
            id="an address that two namespaces have",
        ),
        pytest.param(
            [
                socket(State.CLOSE_WAIT, *A),
                socket(State.FIN_WAIT_2, *B, netns=1),
                socket(State.BOUND, "10.0.0.1:5", netns=2),
            ],
            id="an address that a socket without a peer has elsewhere",
        ),
    ],
)
def test_where_there_is_doubt_an_end_in_another_namespace_is_none(rows: list[dict[str, Any]]) -> None:
    seen = snapshot(*rows, namespaces=[namespace(), namespace("web"), namespace("db")])
    assert not find_ends(seen, seen.sockets).here.any()


def test_the_process_with_most_of_the_other_ends_is_named() -> None:
    few, many = process(1, "few"), process(2, "many")
    pairs = [(f"127.0.0.1:{40000 + i}", "127.0.0.1:80") for i in range(3)]
    rows = [
        *(socket(State.CLOSE_WAIT, server, client) for client, server in pairs),
        *(socket(State.FIN_WAIT_2, client, server, inode=10 + i) for i, (client, server) in enumerate(pairs)),
    ]
    seen = look(*rows)
    waiting = seen.sockets.in_state(State.CLOSE_WAIT)
    other = describe_ends(find_ends(seen, waiting), owners({10: [few], 11: [many], 12: [many]}))
    assert other is not None
    assert (other.state, other.process) == (State.FIN_WAIT_2, many)


def test_other_ends_without_a_known_holder_have_no_process() -> None:
    seen = look(socket(State.CLOSE_WAIT, *A), socket(State.FIN_WAIT_2, *B))
    other = describe_ends(find_ends(seen, seen.sockets.in_state(State.CLOSE_WAIT)), owners({}))
    assert other is not None
    assert (other.state, other.process) == (State.FIN_WAIT_2, None)


def test_nothing_is_described_where_no_other_end_is_here() -> None:
    seen = look(socket(State.CLOSE_WAIT, *A))
    assert describe_ends(find_ends(seen, seen.sockets), owners({})) is None


def test_loopback_and_addresses_of_sockets_here_are_local_peers() -> None:
    seen = look(
        socket(State.ESTABLISHED, "10.0.0.1:5", "10.0.0.1:80"),
        socket(State.ESTABLISHED, "10.0.0.1:6", "127.0.0.53:53"),
        socket(State.ESTABLISHED, "[fe80::1]:7", "[::1]:80"),
        socket(State.ESTABLISHED, "10.0.0.1:8", "10.0.0.2:80"),
    )
    assert peer_is_local(seen, seen.sockets).tolist() == [True, True, True, False]


def test_an_address_of_another_namespace_is_no_local_peer() -> None:
    seen = look(
        socket(State.ESTABLISHED, "172.17.0.1:5", "172.17.0.2:80"),
        socket(State.LISTEN, "172.17.0.2:80", netns=1),
    )
    assert peer_is_local(seen, seen.sockets).tolist() == [False, False]

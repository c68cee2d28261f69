import numpy as np
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from sockwatch.collect.portion import choose_ports

LIMIT = 1000


def chosen(sport: NDArray[np.uint16], dport: NDArray[np.uint16], start: int) -> NDArray[np.bool_]:
    """The sockets with one of their ports among those chosen."""
    taken = np.zeros(65536, np.bool_)
    ranges = choose_ports(sport, dport, LIMIT, start)
    assert 1 <= len(ranges) <= 16
    for low, high in ranges:
        assert 0 <= low <= high <= 65535
        taken[low : high + 1] = True
    return taken[sport] | taken[dport]


def connections(servers: int, count: int, seed: int = 23) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Both ends of `count` connections to so many server ports."""
    random = np.random.default_rng(seed)
    server = random.integers(9000, 9000 + servers, count).astype(np.uint16)
    client = random.integers(32768, 61000, count).astype(np.uint16)
    return np.concatenate([server, client]), np.concatenate([client, server])


@given(st.integers(1, 300), st.integers(1000, 20_000), st.integers(0, 65535))
def test_a_part_is_never_more_than_the_limit_and_seldom_much_less(servers: int, count: int, start: int) -> None:
    sport, dport = connections(servers, count)
    taken = chosen(sport, dport, start)
    assert LIMIT // 10 <= np.count_nonzero(taken) <= LIMIT


def test_both_ends_of_a_connection_are_taken_together() -> None:
    sport, dport = connections(7, 10_000)
    taken = chosen(sport, dport, 40_000)
    assert np.array_equal(taken[:10_000], taken[10_000:])


def test_every_connection_is_in_a_part_that_begins_somewhere() -> None:
    sport, dport = connections(3, 10_000)
    seen = np.zeros(len(sport), np.bool_)
    for start in range(0, 65536, 200):
        seen |= chosen(sport, dport, start)
    assert seen.all()


def test_a_part_has_connections_of_every_server() -> None:
    sport, dport = connections(5, 20_000)
    taken = chosen(sport, dport, 50_000)
    assert set(sport[taken & (sport < 32768)]) == set(range(9000, 9005))


def test_a_server_whose_port_lies_among_those_of_clients_does_not_fill_the_part() -> None:
    sport, dport = connections(1, 10_000)
    sport[sport == 9000] = dport[dport == 9000] = 40_000
    taken = chosen(sport, dport, 39_990)
    assert LIMIT // 2 <= np.count_nonzero(taken) <= LIMIT
    assert len(set(dport[taken])) > 10


def test_where_both_ports_are_those_of_servers_all_are_chosen() -> None:
    same = np.full(5000, 5061, np.uint16)
    assert choose_ports(same, same, LIMIT, 23) == [(0, 65535)]

from typing import Any

import pytest

from builders import namespace, snapshot, socket, table
from sockwatch.diagnose.role import Role, listened_ports, listeners_of, roles, serves
from sockwatch.model.state import State

SENT: dict[str, Any] = {"bytes_sent": 100.0, "bytes_retrans": 0.0, "notsent_bytes": 0.0, "bytes_acked": 100.0}
A = "10.0.0.1:8080", "10.0.0.7:40000"


@pytest.mark.parametrize(
    ("state", "bytes_acked", "role"),
    [
        (State.ESTABLISHED, 100, Role.ACCEPTED),
        (State.ESTABLISHED, 101, Role.CONNECTED),
        (State.ESTABLISHED, 102, Role.UNKNOWN),
        (State.ESTABLISHED, 99, Role.UNKNOWN),
        (State.CLOSE_WAIT, 100, Role.ACCEPTED),
        (State.CLOSE_WAIT, 101, Role.CONNECTED),
        (State.FIN_WAIT_2, 101, Role.ACCEPTED),
        (State.FIN_WAIT_2, 102, Role.CONNECTED),
        (State.FIN_WAIT_2, 100, Role.UNKNOWN),
        (State.LAST_ACK, 101, Role.UNKNOWN),
        (State.FIN_WAIT_1, 101, Role.UNKNOWN),
    ],
)
def test_the_syn_and_the_fin_count_among_the_acknowledged_bytes(state: State, bytes_acked: int, role: Role) -> None:
    assert roles(table([socket(state, *A, **(SENT | {"bytes_acked": bytes_acked}))])).tolist() == [role]


def test_what_is_queued_not_sent_or_sent_twice_does_not_change_the_role() -> None:
    busy: dict[str, Any] = {
        "send_q": 30,
        "notsent_bytes": 10.0,
        "bytes_sent": 140.0,
        "bytes_retrans": 20.0,
        "bytes_acked": 101.0,
    }
    assert roles(table([socket(State.ESTABLISHED, *A, **busy)])).tolist() == [Role.CONNECTED]


def test_a_kernel_without_the_byte_counts_tells_no_role() -> None:
    without: dict[str, Any] = {name: value for name, value in SENT.items() if name != "bytes_sent"}
    rows = [socket(State.ESTABLISHED, *A), socket(State.ESTABLISHED, *A, **without)]
    assert roles(table(rows)).tolist() == [Role.UNKNOWN, Role.UNKNOWN]


def test_listened_ports_are_those_of_each_namespace() -> None:
    seen = snapshot(
        socket(State.LISTEN, "0.0.0.0:80"),
        socket(State.LISTEN, "[::]:443", netns=1),
        socket(State.ESTABLISHED, "10.0.0.1:22", "10.0.0.2:5"),
        namespaces=[namespace(), namespace("web")],
    )
    ports = listened_ports(seen)
    assert [mask.nonzero()[0].tolist() for mask in ports] == [[80], [443]]


def test_an_accepted_socket_serves_also_when_its_listener_is_gone() -> None:
    seen = snapshot(socket(State.ESTABLISHED, *A, **SENT))
    assert serves(seen, seen.sockets).tolist() == [True]


def test_a_connected_socket_does_not_serve_even_on_a_listening_port() -> None:
    seen = snapshot(
        socket(State.LISTEN, "0.0.0.0:8080"), socket(State.ESTABLISHED, *A, **(SENT | {"bytes_acked": 101}))
    )
    assert not serves(seen, seen.sockets.in_state(State.ESTABLISHED))[0]


def test_where_the_role_is_unknown_the_listening_port_decides() -> None:
    seen = snapshot(
        socket(State.LISTEN, "0.0.0.0:8080"),
        socket(State.ESTABLISHED, *A),
        socket(State.ESTABLISHED, "10.0.0.1:40000", "10.0.0.7:8080"),
    )
    assert serves(seen, seen.sockets.in_state(State.ESTABLISHED)).tolist() == [True, False]


def test_the_listeners_of_a_socket_have_its_port_family_address_and_namespace() -> None:
    seen = snapshot(
        socket(State.LISTEN, "0.0.0.0:8080", inode=1),
        socket(State.LISTEN, "10.0.0.1:8080", inode=2),
        socket(State.LISTEN, "10.0.0.2:8080", inode=3),
        socket(State.LISTEN, "[::]:8080", inode=4),
        socket(State.LISTEN, "0.0.0.0:8081", inode=5),
        socket(State.LISTEN, "0.0.0.0:8080", inode=6, netns=1),
        namespaces=[namespace(), namespace("web")],
    )
    assert listeners_of(seen, table([socket(State.CLOSE_WAIT, *A)])).inode.tolist() == [1, 2]
    assert listeners_of(seen, table([socket(State.CLOSE_WAIT, *A, family=10)])).inode.tolist() == [4]
    assert listeners_of(seen, table([])).inode.tolist() == []

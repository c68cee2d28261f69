from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from builders import later, namespace, snapshot, socket, table
from sockwatch.diagnose.role import Role, is_listened, lasting_roles, listened_ports, listeners_of, roles, serves
from sockwatch.diagnose.window import Window
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
        (State.LAST_ACK, 101, Role.ACCEPTED),
        (State.FIN_WAIT_1, 102, Role.CONNECTED),
        (State.CLOSING, 100, Role.UNKNOWN),
        (State.SYN_SENT, 0, Role.CONNECTED),
        (State.SYN_RECV, 100, Role.UNKNOWN),
        (State.TIME_WAIT, 101, Role.UNKNOWN),
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


@given(
    opened=st.booleans(),
    state=st.sampled_from(
        (
            State.ESTABLISHED,
            State.CLOSE_WAIT,
            State.FIN_WAIT_1,
            State.FIN_WAIT_2,
            State.CLOSING,
            State.LAST_ACK,
        )
    ),
    written=st.integers(0, 2**31),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    repeated=st.integers(0, 10_000),
)
def test_the_role_is_that_of_a_sender_whose_sequence_numbers_are_followed(
    *, opened: bool, state: State, written: int, shares: tuple[float, float], repeated: int
) -> None:
    """As the kernel counts: SYN, data and FIN take sequence numbers, and only data counts as sent."""
    closed = state not in (State.ESTABLISHED, State.CLOSE_WAIT)
    end = opened + written + closed  # write_seq, where an accepted end begins to count after its SYN
    sent = end if state == State.FIN_WAIT_2 else max(int(end * shares[0]), int(opened))  # snd_nxt
    acked = sent if state == State.FIN_WAIT_2 else max(int(sent * shares[1]), int(opened))  # snd_una
    row = socket(
        state,
        *A,
        send_q=end - acked,
        notsent_bytes=float(end - sent),
        bytes_acked=float(acked),
        bytes_sent=float(min(sent - opened, written) + repeated),
        bytes_retrans=float(repeated),
    )
    assert roles(table([row])).tolist() == [Role.CONNECTED if opened else Role.ACCEPTED]


def test_a_kernel_without_the_byte_counts_tells_no_role() -> None:
    without: dict[str, Any] = {name: value for name, value in SENT.items() if name != "bytes_sent"}
    rows = [socket(State.ESTABLISHED, *A), socket(State.ESTABLISHED, *A, **without)]
    assert roles(table(rows)).tolist() == [Role.UNKNOWN, Role.UNKNOWN]


def test_a_role_that_a_busy_sender_hides_is_what_it_was_at_the_look_before() -> None:
    rows = [socket(State.ESTABLISHED, *A, cookie=n, **(SENT | {"bytes_acked": 100.0 + n})) for n in (0, 1, 7)]
    now = [row | {"bytes_acked": 5_000.0, "cookie": n} for n, row in ((50, rows[0]), (1, rows[1]), (8, rows[2]))]
    then = snapshot(rows[0] | {"cookie": 50}, *rows[1:])
    seen = Window(current=later(snapshot(*now), 10.0), previous=then)
    assert lasting_roles(seen, seen.sockets).tolist() == [Role.ACCEPTED, Role.CONNECTED, Role.UNKNOWN]
    assert lasting_roles(Window(current=seen.current), seen.sockets).tolist() == [Role.UNKNOWN] * 3
    assert serves(seen.current, seen.sockets, lasting_roles(seen, seen.sockets)).tolist() == [True, False, False]


def test_listened_ports_are_those_of_each_namespace() -> None:
    seen = snapshot(
        socket(State.LISTEN, "0.0.0.0:80"),
        socket(State.LISTEN, "[::]:443", netns=1),
        socket(State.ESTABLISHED, "10.0.0.1:22", "10.0.0.2:5"),
        namespaces=[namespace(), namespace("web")],
    )
    assert [listened_ports(seen, netns).nonzero()[0].tolist() for netns in (0, 1)] == [[80], [443]]
    asked = [(0, 80), (1, 80), (1, 443), (0, 443), (0, 22), (1, 65535)]
    netns, port = (np.array(column, np.uint16) for column in zip(*asked, strict=True))
    assert is_listened(seen, netns, port).tolist() == [True, False, True, False, False, False]


def test_of_one_namespace_and_where_nobody_listens_it_is_the_same() -> None:
    alone = snapshot(socket(State.LISTEN, "0.0.0.0:80"), socket(State.LISTEN, "[::]:65535"))
    port = np.array([80, 81, 65535], np.uint16)
    assert is_listened(alone, np.zeros(3, np.uint16), port).tolist() == [True, False, True]
    nobody = snapshot(socket(State.ESTABLISHED, *A), namespaces=[namespace(), namespace("web")])
    assert is_listened(nobody, np.zeros(3, np.uint16), port).tolist() == [False] * 3


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

from builders import later, snapshot, socket, window
from sockwatch.diagnose.age import ages
from sockwatch.diagnose.multipath import multipath
from sockwatch.diagnose.window import Window
from sockwatch.model.state import State, Timer

HERE, THERE = "10.0.0.1:8080", "10.0.0.7:50000"


def test_its_sockets_are_those_that_tcp_does_not_show_in_the_same_state() -> None:
    ours = [
        socket(State.CLOSE_WAIT, HERE, THERE, inode=1),
        socket(State.CLOSE_WAIT, HERE, "10.0.0.7:50001", inode=2),
        socket(State.LISTEN, HERE, inode=3),
        socket(State.CLOSE_WAIT, HERE, THERE, inode=4, netns=1),
    ]
    tcp = [
        socket(State.CLOSE_WAIT, HERE, THERE, inode=1),
        socket(State.ESTABLISHED, HERE, "10.0.0.7:50001", inode=2),
        socket(State.LISTEN, HERE, inode=3),
    ]
    assert multipath(window(*tcp, mptcp=ours)).sockets.inode.tolist() == [2, 3, 4]
    assert len(multipath(window(*tcp)).sockets) == 0


def test_a_closed_socket_of_mptcp_is_not_dated_by_tcp_fin_timeout() -> None:
    orphan = socket(State.FIN_WAIT_2, HERE, THERE, timer=Timer.KEEPALIVE, expires_ms=1_000)
    seen = multipath(window(mptcp=[orphan]))
    assert ages(seen, seen.sockets).lower.tolist() == [0.0]
    assert seen.namespaces[0].sysctls["net.ipv4.tcp_fin_timeout"] == "60"


def test_both_looks_are_seen_so() -> None:
    first = snapshot(mptcp=[socket(State.CLOSE_WAIT, HERE, THERE, cookie=7)])
    seen = multipath(Window(current=later(first, 10.0), previous=first))
    assert ages(seen, seen.sockets).lower.tolist() == [10.0]

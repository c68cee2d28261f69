import os
import socket

import pytest

from netns import PrivateNetns, forget_kept, keep


def listen() -> int:
    listener = keep(socket.create_server(("127.0.0.1", 0)))
    port: int = listener.getsockname()[1]
    return port


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port)).close()


def connect_v6(port: int) -> None:
    socket.create_connection(("::1", port)).close()


def listen_v6() -> int:
    port: int = keep(socket.create_server(("::1", 0), family=socket.AF_INET6)).getsockname()[1]
    return port


def read_fin_timeout() -> str:
    with open("/proc/sys/net/ipv4/tcp_fin_timeout") as file:  # noqa: PTH123 - as short as can be
        return file.read().strip()


def test_functions_share_one_namespace_and_what_they_keep() -> None:
    with PrivateNetns() as netns:
        port = netns.run(listen)
        netns.run(connect, port)
        netns.run(connect_v6, netns.run(listen_v6))
        netns.run(forget_kept)
        with pytest.raises(ConnectionRefusedError):
            netns.run(connect, port)


def test_the_namespace_is_not_ours_and_ends_with_the_block() -> None:
    with PrivateNetns() as netns:
        assert netns.path.stat().st_ino != os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - a link to no path
    assert not netns.path.exists()


def test_a_sysctl_is_set_there_only() -> None:
    before = read_fin_timeout()
    with PrivateNetns() as netns:
        netns.set_sysctl("net.ipv4.tcp_fin_timeout", "23")
        assert netns.run(read_fin_timeout) == "23"
    assert read_fin_timeout() == before

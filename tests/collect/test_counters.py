import socket
from pathlib import Path

import pytest

from netns import PrivateNetns
from sockwatch.collect.counters import read_counters
from sockwatch.model.snapshot import Gap

PROC = Path("/proc")
CONNECTIONS = 23


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with sound counter files, to be damaged."""
    net = tmp_path / "thread-self" / "net"
    net.mkdir(parents=True)
    (net / "snmp").write_text("Tcp: MaxConn ActiveOpens\nTcp: -1 5\nUdp: InDatagrams\nUdp: 7\n")
    (net / "netstat").write_text("TcpExt: ListenOverflows ListenDrops\nTcpExt: 18446744073709551615 3\n")
    (net / "sockstat").write_text("sockets: used 13\nTCP: inuse 1 orphan 0 tw 12 alloc 1 mem 165\n")
    (net / "sockstat6").write_text("TCP6: inuse 4\n")
    return tmp_path


def connect_and_count() -> tuple[dict[str, int], dict[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before, _ = read_counters(PROC)
        for _ in range(CONNECTIONS):
            client = socket.create_connection(listener.getsockname())
            server, _address = listener.accept()
            client.close()
            assert not server.recv(1)
            server.close()
        after, _ = read_counters(PROC)
    return before, after


def test_the_kernel_counts_exactly_what_happened_in_this_namespace() -> None:
    with PrivateNetns() as netns:
        before, after = netns.run(connect_and_count)
    names = ("Tcp.ActiveOpens", "Tcp.PassiveOpens", "sockstat.TCP.tw")
    assert {name: after[name] - before[name] for name in names} == dict.fromkeys(names, CONNECTIONS)
    assert after["sockstat.TCP.inuse"] == 1
    assert after["TcpExt.ListenOverflows"] == 0


def test_every_file_is_read_with_its_protocols_as_prefix(proc: Path) -> None:
    assert read_counters(proc) == (
        {
            "Tcp.MaxConn": -1,
            "Tcp.ActiveOpens": 5,
            "Udp.InDatagrams": 7,
            "TcpExt.ListenOverflows": 2**64 - 1,
            "TcpExt.ListenDrops": 3,
            "sockstat.sockets.used": 13,
            "sockstat.TCP.inuse": 1,
            "sockstat.TCP.orphan": 0,
            "sockstat.TCP.tw": 12,
            "sockstat.TCP.alloc": 1,
            "sockstat.TCP.mem": 165,
            "sockstat.TCP6.inuse": 4,
        },
        (),
    )


def test_a_file_that_is_not_there_is_no_gap(proc: Path) -> None:
    (proc / "thread-self/net/sockstat6").unlink()
    counters, gaps = read_counters(proc)
    assert "sockstat.TCP6.inuse" not in counters
    assert gaps == ()


@pytest.mark.parametrize(
    "text",
    [
        "TcpExt: ListenOverflows\n",
        "TcpExt: ListenOverflows ListenDrops\nTcpExt: 1\n",
        "TcpExt: ListenOverflows\nIpExt: 1\n",
        "TcpExt: ListenOverflows\nTcpExt: many\n",
        "TcpExt: ListenOverflows\nTcpExt: \x1b[2J\n",
        "TcpExt: ListenOverflows\nTcpExt: \xff\n",
        "\n\n",
    ],
)
def test_a_malformed_file_is_a_gap_and_the_others_are_read(proc: Path, text: str) -> None:
    (proc / "thread-self/net/netstat").write_text(text, encoding="latin-1")
    counters, gaps = read_counters(proc)
    assert counters["Tcp.ActiveOpens"] == 5
    assert [gap.what for gap in gaps] == ["counters"]
    assert gaps[0].why.startswith("/proc/net/netstat: ")
    assert gaps[0].why.isprintable()


def test_a_malformed_sockstat_is_a_gap(proc: Path) -> None:
    (proc / "thread-self/net/sockstat").write_text("TCP: inuse 1 orphan\n")
    _, gaps = read_counters(proc)
    assert [gap.why.partition(":")[0] for gap in gaps] == ["/proc/net/sockstat"]


def test_a_file_that_cannot_be_read_is_a_gap(proc: Path) -> None:
    snmp = proc / "thread-self/net/snmp"
    snmp.unlink()
    snmp.mkdir()
    assert read_counters(proc)[1] == (Gap(what="counters", why="/proc/net/snmp: Is a directory"),)

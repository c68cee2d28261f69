from pathlib import Path

from netns import PrivateNetns
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.model.snapshot import Gap

FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
PORT_RANGE = "net.ipv4.ip_local_port_range"
RESERVED = "net.ipv4.ip_local_reserved_ports"


def read(*names: str) -> tuple[dict[str, str], tuple[Gap, ...]]:
    return read_sysctls(names, Path("/proc"))


def test_values_are_those_of_the_calling_threads_namespace() -> None:
    with PrivateNetns() as netns:
        netns.set_sysctl(FIN_TIMEOUT, "23")
        netns.set_sysctl(PORT_RANGE, "40000 40023")
        assert netns.run(read, FIN_TIMEOUT, PORT_RANGE) == ({FIN_TIMEOUT: "23", PORT_RANGE: "40000\t40023"}, ())


def test_what_this_kernel_does_not_have_is_absent() -> None:
    assert read("net.ipv4.tcp_tw_recycle", "no.such.sysctl") == ({}, ())


def test_a_value_that_cannot_be_read_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "sys/net/ipv4/tcp_fin_timeout").mkdir(parents=True)
    assert read_sysctls([FIN_TIMEOUT], tmp_path) == ({}, (Gap(what=FIN_TIMEOUT, why="Is a directory"),))


def test_an_empty_value_is_a_value(tmp_path: Path) -> None:
    folder = tmp_path / "sys/net/ipv4"
    folder.mkdir(parents=True)
    (folder / "ip_local_reserved_ports").write_text("\n")
    assert read_sysctls(["net.ipv4.ip_local_reserved_ports"], tmp_path) == (
        {"net.ipv4.ip_local_reserved_ports": ""},
        (),
    )


def test_no_sysctls_at_all_is_a_gap(tmp_path: Path) -> None:
    values, (gap,) = read_sysctls([FIN_TIMEOUT], tmp_path)
    assert values == {}
    assert (gap.what, gap.why) == (
        "sysctls",
        f"{tmp_path}/sys/net is not there: what depends on a sysctl is not judged",
    )
    assert read_sysctls([], tmp_path) == ({}, ())


def every_second_port() -> str:
    ports = ",".join(str(port) for port in range(1001, 21_001, 2))
    Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text(ports)
    return ports


def test_a_value_of_many_thousand_characters_is_whole() -> None:
    with PrivateNetns() as netns:
        written = netns.run(every_second_port)
        assert netns.run(read, RESERVED) == ({RESERVED: written}, ())

import numpy as np
import pytest

from builders import namespace


def test_the_port_range_is_read_as_the_kernel_writes_it() -> None:
    assert namespace(ip_local_port_range="32768\t60999").port_range() == (32768, 60999)


@pytest.mark.parametrize("text", ["", "x y", "32768", "1 2 3", "-1 5", "1 65536", "1 " + "9" * 5000])
def test_what_is_no_range_is_none(text: str) -> None:
    assert namespace(ip_local_port_range=text).port_range() is None


@pytest.mark.parametrize(
    ("text", "ports"), [("", []), ("8080,9148-9150", [8080, 9148, 9149, 9150]), ("a,7,9-b", [7]), ("70000", [])]
)
def test_reserved_ports_are_a_mask(text: str, ports: list[int]) -> None:
    assert np.flatnonzero(namespace(ip_local_reserved_ports=text).reserved_ports()).tolist() == ports


@pytest.mark.parametrize(
    ("text", "number"),
    [("60", 60), ("-1", -1), ("60 70", None), ("", None), ("x", None), ("--5", None), ("9" * 5000, None)],
)
def test_a_sysctl_that_is_no_number_is_none(text: str, number: int | None) -> None:
    assert namespace(tcp_fin_timeout=text).number("net.ipv4.tcp_fin_timeout") == number
